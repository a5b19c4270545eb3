// Package dashboards holds no code: it holds the Grafana boards, the files that provision them, and
// their tests. The tests check that the generator in gen, a separate module, writes exactly these
// boards, that the boards are valid as far as that can be checked without Grafana, and that each
// query of each panel returns from a real Prometheus what the panel shows.
package dashboards
