// Package dashboards has no code, only the Grafana boards, the files by which a Grafana finds them, and their tests: the generator in gen,
// a module of its own, writes exactly these boards; they are sound, by what can be told without Grafana; and each query of each panel brings
// from a real Prometheus what the panel shows.
package dashboards
