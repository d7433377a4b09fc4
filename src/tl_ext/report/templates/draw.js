window.tlxDraw = function (box) {
  'use strict';
  var source = box.closest('.tlx').querySelector('[id="' + box.dataset.tlxSpec + '"]');
  var spec = JSON.parse(source.textContent);
  box.textContent = '';
  box.dataset.tlxDrawn = 'yes';
  return window.Plotly.newPlot(box, spec.data, spec.layout, {
    responsive: true,
    displaylogo: false,
    displayModeBar: box.closest('.tlx-panel') ? false : undefined,
    modeBarButtonsToRemove: ['lasso2d', 'select2d', 'autoScale2d']
  });
};
