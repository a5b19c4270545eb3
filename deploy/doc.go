// Package deploy holds no code: it holds the unit of systemd, the packages, the container, the
// objects for Kubernetes and the compose file, and tests that they fit the program and each other.
// `go test ./deploy -update` writes kubernetes/base/prometheusrule.yaml from the rules in alerts.
package deploy
