package web

import (
	"encoding/json"
	"io"
	"net/http"

	"ipsec_path_exporter/internal/untrusted"
)

// A TargetGroup is an element of Prometheus's HTTP service discovery.
type TargetGroup struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// targets writes the list for Prometheus, which demands this Content-Type, and a list even if it is
// empty.
func (s *site) targets(w http.ResponseWriter, r *http.Request) {
	s.send(w, r, r.URL.Path, http.Header{"Content-Type": {"application/json; charset=utf-8"}}, func(b io.Writer) error {
		groups := s.Targets()
		if groups == nil {
			groups = []TargetGroup{}
		}
		return json.NewEncoder(untrusted.Writer(b)).Encode(groups)
	})
}
