package demo

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/suite"
)

func TestLook(t *testing.T) {
	body := `# TYPE ipsec_path_diagnosis gauge
ipsec_path_diagnosis{diagnosis="pmtu_black_hole",isp="acme",peer="hole"} 1
ipsec_path_diagnosis{diagnosis="icmp_blocked",isp="acme",peer="hole"} 1
# TYPE ipsec_path_mtu_bytes gauge
ipsec_path_mtu_bytes{method="ike",peer="unknown"} 1
# TYPE ipsec_path_peer_healthy gauge
ipsec_path_peer_healthy{isp="acme",peer="hole"} 0
ipsec_path_peer_healthy{peer="fine"} 1
`
	code := http.StatusOK
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}))
	defer s.Close()
	v := visitor{base: s.URL}
	got, err := v.look(t.Context())
	want := map[string]string{"hole": "icmp_blocked, pmtu_black_hole", "fine": "no fault"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	body = "ipsec_path_diagnosis{"
	if got, err := v.look(t.Context()); err == nil {
		t.Errorf("half a page: %v", got)
	}
	code = http.StatusServiceUnavailable
	if got, err := v.look(t.Context()); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("an error page: %v, %v", got, err)
	}
}

// What is found is said once, and again when it changes.
func TestReport(t *testing.T) {
	var out strings.Builder
	v := visitor{out: &out, began: time.Now(), seen: make(map[string]string), peers: []peer{
		{name: "fine"},
		{name: "hole", diagnoses: []string{"pmtu_black_hole", "icmp_blocked"}},
		{name: "hung", diagnoses: []string{"negotiation_stuck"}},
	}}
	for _, step := range []struct {
		found map[string]string
		since time.Duration
		want  string
	}{
		{nil, 0, ""},
		{map[string]string{"fine": "no fault", "stranger": "no fault"}, time.Second, "   1 s  fine                  no fault\n"},
		{map[string]string{"fine": "no fault"}, late - time.Second, ""},
		{
			map[string]string{"fine": "no fault"},
			late + time.Second,
			"\nNot yet diagnosed as expected after 301 s (a slow machine takes longer):\n\nhole\n  expected  icmp_blocked, pmtu_black_hole\n  found     unknown\n" +
				"hung\n  expected  negotiation_stuck\n  found     unknown\n\n",
		},
		{map[string]string{"fine": "no fault"}, late + time.Second, ""},
		{
			map[string]string{"fine": "no fault", "hole": "icmp_blocked, pmtu_black_hole"},
			310 * time.Second,
			" 310 s  hole                  icmp_blocked, pmtu_black_hole\n\n2 of 3 peers diagnosed as expected after 310 s.\nA negotiation is stuck when readings show it for two minutes.\n\n",
		},
		{
			map[string]string{"fine": "no fault", "hole": "icmp_blocked, pmtu_black_hole", "hung": "negotiation_stuck"},
			320 * time.Second,
			" 320 s  hung                  negotiation_stuck\n\nAll 3 peers diagnosed as expected after 320 s.\n\n",
		},
		{
			map[string]string{"fine": "peer_silent", "hung": "negotiation_stuck"},
			400 * time.Second,
			" 400 s  fine                  peer_silent\n 400 s  hole                  unknown\n",
		},
	} {
		out.Reset()
		v.began = time.Now().Add(-step.since)
		if err := v.report(step.found); (err != nil) != strings.Contains(step.want, "Not yet") {
			t.Errorf("after %v the verdict is %v", step.since, err)
		}
		if diff := cmp.Diff(step.want, out.String()); diff != "" {
			t.Errorf("after %v (-want +got):\n%s", step.since, diff)
		}
	}
}

// TestOnce: the demo ends with its verdict, and with an error if a result is not the expected one.
func TestOnce(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("# TYPE ipsec_path_diagnosis gauge\nipsec_path_diagnosis{diagnosis=\"peer_silent\",peer=\"hq\"} 1\n"))
	}))
	defer s.Close()
	for expected, want := range map[string]string{"peer_silent": "", "no_route": "1 of 1 peers are not diagnosed as expected"} {
		var out strings.Builder
		v := visitor{out: &out, base: s.URL, once: true, began: time.Now().Add(-late), peers: []peer{{name: "hq", diagnoses: []string{expected}}}}
		got := ""
		if err := v.visit(t.Context()); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("expected %s: the verdict is %q, want %q\n%s", expected, got, want, out.String())
		}
	}
	s.Config.Handler = http.NotFoundHandler()
	broken := visitor{out: io.Discard, base: s.URL, once: true, began: time.Now().Add(-late)}
	if err := broken.visit(t.Context()); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("an exporter that does not answer: %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	v := visitor{base: s.URL, once: true, out: io.Discard}
	if err := v.visit(ended); !errors.Is(err, errNoVerdict) {
		t.Errorf("stopped early: %v", err)
	}
}

func TestBaseURL(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:10500": "http://localhost:10500", "0.0.0.0:1": "http://localhost:1", "[::]:2": "http://localhost:2",
		"[::1]:3": "http://[::1]:3", "192.0.2.1:4": "http://192.0.2.1:4",
	} {
		a, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if got := baseURL(a); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

// The exporter of the demonstration is configured as any other is, and has nothing to warn of.
func TestConfiguration(t *testing.T) {
	all := peers()
	addresses := make([]string, len(all))
	for i := range addresses {
		addresses[i] = net.IPv4(192, 0, 2, byte(i)).String()
	}
	cfg, err := config.Parse("demo", configuration(all, addresses, &login{address: "127.0.0.1:1", passwordFile: "/run/demo/password", caFile: "/run/demo/ca.pem"}))
	if err != nil {
		t.Fatal(err)
	}
	if w := cfg.Warnings(); len(w) > 0 {
		t.Errorf("warnings: %q", w)
	}
	for i, p := range cfg.Peers {
		want := map[string]string{"site": all[i].site, "isp": all[i].isp}
		if diff := cmp.Diff(want, p.Labels); diff != "" || p.Name != all[i].name || p.Address != addresses[i] || p.Collectors.Has(suite.Protocols) != all[i].protocols {
			t.Errorf("%+v is configured as %+v", all[i].name, p)
		}
	}
}
