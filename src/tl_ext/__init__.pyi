# The single list of public names; each is loaded when it is first used.
from .activations.capture import capture as capture
from .concepts.concept import Concept as Concept
from .concepts.concept import Example as Example
from .concepts.loading import load_concepts as load_concepts
from .concepts.spans import word_spans as word_spans
from .dictionaries.loading import load_dictionaries as load_dictionaries
from .dictionaries.neuronpedia import neuronpedia_link as neuronpedia_link
from .dictionaries.quality import evaluate_dictionary as evaluate_dictionary
from .dictionaries.reading import background_statistics as background_statistics
from .dictionaries.reading import word_latents as word_latents
from .errors import TlExtError as TlExtError
from .interventions.applied import applied as applied
from .interventions.edits import Ablate as Ablate
from .interventions.edits import Add as Add
from .interventions.edits import Clamp as Clamp
from .interventions.edits import Splice as Splice
from .models.activation import activate as activate
from .models.loading import Processing as Processing
from .models.loading import load_model as load_model
from .models.tokens import batch as batch
from .steering.generation import Generations as Generations
from .steering.generation import steer as steer
from .steering.vectors import SteeringVector as SteeringVector
from .steering.vectors import combine as combine
from .steering.vectors import diff_of_means as diff_of_means
from .steering.vectors import hook_point_norm as hook_point_norm
from .steering.vectors import latent_vector as latent_vector
from .steering.vectors import tensor_vector as tensor_vector
from .study.calls import concept_activations as concept_activations
from .study.calls import feature_similarity as feature_similarity
from .study.calls import shared_features as shared_features
from .study.calls import token_probabilities as token_probabilities
from .study.run import run_study as run_study
from .study.session import open_session as open_session
from .testbed.background import sample_background as sample_background

__version__: str
