package demo

import (
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
		{name: "fine"}, {name: "hole", diagnoses: []string{"pmtu_black_hole", "icmp_blocked"}},
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
			"\nNot yet diagnosed as expected after 91 s: hole. A slow machine takes longer.\n\n",
		},
		{map[string]string{"fine": "no fault"}, late + time.Second, ""},
		{
			map[string]string{"fine": "no fault", "hole": "icmp_blocked, pmtu_black_hole"},
			100 * time.Second,
			" 100 s  hole                  icmp_blocked, pmtu_black_hole\n\nAll 2 peers diagnosed as expected after 100 s.\n\n",
		},
		{
			map[string]string{"fine": "peer_silent"},
			200 * time.Second,
			" 200 s  fine                  peer_silent\n 200 s  hole                  unknown\n",
		},
	} {
		out.Reset()
		v.began = time.Now().Add(-step.since)
		v.report(step.found)
		if diff := cmp.Diff(step.want, out.String()); diff != "" {
			t.Errorf("after %v (-want +got):\n%s", step.since, diff)
		}
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
	cfg, err := config.Parse("demo", configuration(all, addresses))
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
