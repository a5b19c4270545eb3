package web_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/exporter/web"
)

// A site is the handler with what it was told and asked.
type site struct {
	http.Handler
	ready   bool
	reloads int
	failure error
	status  web.Status
}

func newSite(t *testing.T, prefix, telemetry string) *site {
	t.Helper()
	s := &site{}
	h, err := web.Handler(web.Config{
		Log: slog.New(slog.DiscardHandler), RoutePrefix: prefix, TelemetryPath: telemetry,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "up 1\n") }),
		Ready:   func() bool { return s.ready },
		Reload: func(context.Context) error {
			s.reloads++
			return s.failure
		},
		Status: func() web.Status { return s.status },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Handler = h
	return s
}

func (s *site) ask(t *testing.T, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody))
	return w
}

func TestEndpoints(t *testing.T) {
	s := newSite(t, "/", "/metrics")
	for _, tt := range []struct {
		method, path string
		ready        bool
		failure      error
		code         int
		body         string
	}{
		{method: "GET", path: "/metrics", code: 200, body: "up 1\n"},
		{method: "POST", path: "/metrics", code: 405, body: "Method Not Allowed\n"},
		{method: "GET", path: "/-/healthy", code: 200, body: "healthy\n"},
		{method: "HEAD", path: "/-/healthy", code: 200, body: "healthy\n"}, // net/http drops the body
		{method: "POST", path: "/-/healthy", code: 405, body: "Method Not Allowed\n"},
		{method: "GET", path: "/-/ready", code: 503, body: "not ready\n"},
		{method: "GET", path: "/-/ready", ready: true, code: 200, body: "ready\n"},
		{method: "GET", path: "/-/reload", code: 405, body: "Method Not Allowed\n"},
		{method: "POST", path: "/-/reload", code: 200, body: "reloaded\n"},
		{method: "PUT", path: "/-/reload", code: 200, body: "reloaded\n"},
		{
			method: "POST", path: "/-/reload", failure: errors.New("config.yml:3: peers[0]: one\nconfig.yml:4: peers[1]: two"), code: 500,
			body: "reload failed, the running configuration stays:\nconfig.yml:3: peers[0]: one\nconfig.yml:4: peers[1]: two\n",
		},
		{method: "GET", path: "/nowhere", code: 404, body: "404 page not found\n"},
	} {
		s.ready, s.failure = tt.ready, tt.failure
		w := s.ask(t, tt.method, tt.path)
		if w.Code != tt.code || w.Body.String() != tt.body {
			t.Errorf("%s %s: %d %q, want %d %q", tt.method, tt.path, w.Code, w.Body, tt.code, tt.body)
		}
	}
	if s.reloads != 3 {
		t.Errorf("%d reloads", s.reloads)
	}
	if allow := s.ask(t, "GET", "/-/reload").Header().Get("Allow"); allow != "POST, PUT" {
		t.Errorf("Allow: %q", allow)
	}
}

func TestRoutePrefix(t *testing.T) {
	for _, tt := range []struct{ given, external, want string }{
		{"", "", "/"},
		{"", "https://monitor.example/", "/"},
		{"", "https://monitor.example/ipsec", "/ipsec"},
		{"", "https://monitor.example/a/b/", "/a/b"},
		{"/own", "https://monitor.example/ipsec", "/own"},
		{"/", "https://monitor.example/ipsec", "/"},
	} {
		if got, err := web.RoutePrefix(tt.given, tt.external); err != nil || got != tt.want {
			t.Errorf("RoutePrefix(%q, %q) = %q, %v; want %q", tt.given, tt.external, got, err, tt.want)
		}
	}
	if _, err := web.RoutePrefix("", "http://[::1"); err == nil {
		t.Error("a broken URL is no error")
	}
	for _, prefix := range []string{"/a/b", "a/b/", "/a/b/"} {
		s := newSite(t, prefix, "/telemetry")
		for path, code := range map[string]int{
			"/a/b/": 200, "/a/b/telemetry": 200, "/a/b/-/healthy": 200, "/a/b/metrics": 404, "/telemetry": 404, "/-/healthy": 404, "/a/": 404,
		} {
			if w := s.ask(t, "GET", path); w.Code != code {
				t.Errorf("prefix %q: GET %s is %d, want %d", prefix, path, w.Code, code)
			}
		}
		if w := s.ask(t, "GET", "/"); w.Code != http.StatusFound || w.Header().Get("Location") != "/a/b/" {
			t.Errorf("prefix %q: GET / is %d to %q", prefix, w.Code, w.Header().Get("Location"))
		}
		if body := s.ask(t, "GET", "/a/b/").Body.String(); !strings.Contains(body, `href="/a/b/telemetry"`) {
			t.Errorf("prefix %q: no link to the metrics in:\n%s", prefix, body)
		}
	}
}

func TestImpossiblePaths(t *testing.T) {
	for _, tt := range []struct{ prefix, telemetry, want string }{
		{"/", "/", "not a possible path: --web.telemetry-path=/ is a page of the exporter itself"},
		{"/", "", "not a possible path: --web.telemetry-path=/ is a page of the exporter itself"},
		{"/a", "/-/healthy", "not a possible path: --web.telemetry-path=/a/-/healthy is a page of the exporter itself"},
		{"/", "-/reload/", "not a possible path: --web.telemetry-path=/-/reload is a page of the exporter itself"},
		{"/", "/{name", "not a possible path: --web.telemetry-path=/{name"},
		{"/a b", "/metrics", "not a possible path: --web.route-prefix=/a b"},
	} {
		_, err := web.Handler(web.Config{RoutePrefix: tt.prefix, TelemetryPath: tt.telemetry, Metrics: http.NotFoundHandler()})
		if !errors.Is(err, web.ErrPath) || err.Error() != tt.want {
			t.Errorf("%q, %q: %v, want %s", tt.prefix, tt.telemetry, err, tt.want)
		}
	}
}

// Names and replies come from files and from the network: nothing of them may become markup.
func TestStatusPageEscapes(t *testing.T) {
	s := newSite(t, "/", "/metrics")
	const evil = `<script>alert("x")</script>`
	s.status = web.Status{
		Version: "1.2.3", Started: time.Now().Add(-90 * time.Second), Degraded: []string{evil},
		Peers: []web.Peer{{
			Name: evil, Address: evil, Health: "faulty", ICMP: evil, IKE: []string{evil}, MTU: []string{evil},
			Diagnoses: []web.Diagnosis{{Name: `" onmouseover="` + evil, Summary: evil, Since: time.Now()}},
		}},
	}
	w := s.ask(t, "GET", "/")
	body := w.Body.String()
	if strings.Contains(body, "<script") || strings.Contains(body, `" onmouseover`) {
		t.Errorf("markup in:\n%s", body)
	}
	const escaped = "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;"
	if n := strings.Count(body, escaped); n != 8 {
		t.Errorf("%d of 8 texts in:\n%s", n, body)
	}
	for _, want := range []string{`<td class="faulty">faulty</td>`, "Version 1.2.3, measuring for 1m30s"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in:\n%s", want, body)
		}
	}
	if kind := w.Header().Get("Content-Type"); kind != "text/html; charset=utf-8" {
		t.Errorf("Content-Type %q", kind)
	}
}
