(function () {
  'use strict';
  var boxes = Array.prototype.slice.call(document.querySelectorAll('.tlx-plot'));

  function next() {
    var box = boxes.shift();
    if (!box) {
      document.documentElement.dataset.tlxReady = 'yes';
      return;
    }
    window.tlxDraw(box).then(function () { setTimeout(next, 0); });
  }
  next();

  function resize() {
    document.querySelectorAll('.tlx-plot[data-tlx-drawn]').forEach(function (box) {
      window.Plotly.Plots.resize(box);
    });
  }
  window.addEventListener('beforeprint', resize);
  window.addEventListener('afterprint', resize);

  function sort(table, column, head) {
    var body = table.tBodies[0];
    var down = head.getAttribute('aria-sort') === 'descending';
    var numeric = head.classList.contains('tlx-number');
    var rows = Array.prototype.slice.call(body.rows);
    function key(row) {
      var cell = row.cells[column];
      if (!numeric) { return cell.textContent; }
      return cell.dataset.key === '' ? null : Number(cell.dataset.key);
    }
    rows.sort(function (a, b) {
      var x = key(a);
      var y = key(b);
      if (x === null || y === null) { return (x === null) - (y === null); }
      var order = numeric ? x - y : x.localeCompare(y);
      return down ? order : -order;
    });
    rows.forEach(function (row) { body.appendChild(row); });
    table.querySelectorAll('th').forEach(function (th) { th.removeAttribute('aria-sort'); });
    head.setAttribute('aria-sort', down ? 'ascending' : 'descending');
  }
  document.querySelectorAll('table[data-tlx-sort]').forEach(function (table) {
    table.querySelectorAll('th').forEach(function (head, column) {
      var button = document.createElement('button');
      button.type = 'button';
      button.title = 'Sort by this column';
      while (head.firstChild) { button.appendChild(head.firstChild); }
      head.appendChild(button);
      button.addEventListener('click', function () { sort(table, column, head); });
    });
  });

  var links = {};
  document.querySelectorAll('.contents a').forEach(function (link) {
    links[link.getAttribute('href').slice(1)] = link;
  });
  if ('IntersectionObserver' in window) {
    var seen = new IntersectionObserver(function (entries) {
      entries.forEach(function (entry) {
        var link = links[entry.target.id];
        if (link && entry.isIntersecting) {
          Object.keys(links).forEach(function (id) { links[id].removeAttribute('aria-current'); });
          link.setAttribute('aria-current', 'true');
        }
      });
    }, { rootMargin: '-10% 0px -80% 0px' });
    document.querySelectorAll('main section').forEach(function (part) { seen.observe(part); });
  }
})();
