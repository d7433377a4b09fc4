from .models.loading import Processing as Processing
from .models.loading import load_model as load_model
from .models.tokens import batch as batch

__version__: str
