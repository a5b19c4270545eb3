package web_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"ipsec_path_exporter/exporter/web"
)

// TestTargets: Prometheus demands a list, also of no peers, and this type.
func TestTargets(t *testing.T) {
	for _, tt := range []struct {
		groups []web.TargetGroup
		want   string
	}{
		{nil, "[]\n"},
		{
			[]web.TargetGroup{{Targets: []string{"203.0.113.10"}, Labels: map[string]string{"site": "a\u202e<b>"}}},
			`[{"targets":["203.0.113.10"],"labels":{"site":"a\u202e\u003cb\u003e"}}]` + "\n",
		},
	} {
		h, err := web.Handler(web.Config{TelemetryPath: "/metrics", Metrics: http.NotFoundHandler(), Targets: func() []web.TargetGroup { return tt.groups }})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/sd", http.NoBody))
		if w.Code != http.StatusOK || w.Body.String() != tt.want || w.Header().Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("%d %s %q, want %q", w.Code, w.Header().Get("Content-Type"), w.Body, tt.want)
		}
	}
}
