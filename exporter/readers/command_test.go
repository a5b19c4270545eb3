package readers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/exportertest"
)

// asaServer is an ASA that answers by HTTPS from a transcript, and the configuration to read it
// with.
func asaServer(t *testing.T, state, peer string, pathMTU int) string {
	t.Helper()
	answers := map[string]string{}
	for _, e := range exportertest.ASAGateway(state, peer, pathMTU).Exchanges {
		answers[e.Request] = e.Response
	}
	device := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		command := strings.TrimPrefix(r.URL.Path, "/admin/exec/")
		text, ok := answers[strings.ReplaceAll(command, "+", " ")]
		if !ok {
			text = "ERROR: % Invalid input detected at '^' marker.\n"
		}
		fmt.Fprint(w, text)
	}))
	t.Cleanup(device.Close)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("PLANTED-4cd1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return exportertest.ConfigFile(t, "gateways: [{name: hub, type: cisco_asa, transport: https, insecure: true, address: '"+
		strings.TrimPrefix(device.URL, "https://")+"', username: ipsecmon, password_file: "+secret+"}, {name: local, type: strongswan, socket: unix:///nowhere}]\n"+
		"peers: [{name: branch, address: 203.0.113.10, gateways: [hub]}, {name: idle, address: 203.0.113.11, gateways: [hub], on_demand: true}]\n")
}

func TestReadGateway(t *testing.T) {
	t.Parallel()
	file := asaServer(t, "MM_ACTIVE", "203.0.113.10", 1500)
	var out, notes bytes.Buffer
	o := Options{ConfigFile: file, Name: "hub", Output: "text", Stdout: &out, Stderr: &notes}
	if err := Run(t.Context(), o); err != nil || notes.Len() > 0 {
		t.Fatalf("%v\n%s", err, &notes)
	}
	_, table, _ := strings.Cut(out.String(), "\n")
	want := `
PEER    REMOTE        IKE  STATE        VENDOR STATE  ESTABLISHED           ID  USER  GROUP
branch  203.0.113.10  v1   established  MM_ACTIVE     (some 20 characters)  -   -     -

PEER    REMOTE        CHILD        STATE      PACKETS IN  OUT  LOST  BYTES IN  OUT  PATH MTU  NAT-T
branch  203.0.113.10  outside_map  installed  3           15   -     -         -    1500      yes

EXPECTED  UP
branch    yes
idle      no (idle, on demand)
`
	table = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`).ReplaceAllString(table, "(some 20 characters)")
	if diff := cmp.Diff(want, table); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	out.Reset()
	o.Output = "json"
	if err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for _, w := range []string{`"vendor_state": "MM_ACTIVE"`, `"path_mtu_bytes": 1500`, `"bytes_in": null`, `"packets_out": 15`, `"peer": "branch"`} {
		if !strings.Contains(out.String(), w) {
			t.Errorf("%s is not in:\n%s", w, &out)
		}
	}
}

func TestReadGatewayWithATunnelDown(t *testing.T) {
	t.Parallel()
	transcript := filepath.Join(t.TempDir(), "transcript")
	var out bytes.Buffer
	o := Options{
		ConfigFile: asaServer(t, "AM_TM_INIT_XAUTH_V6C", "203.0.113.10", 0), Name: "hub", Output: "text", Record: transcript, Stdout: &out, Stderr: &out,
	}
	if err := Run(t.Context(), o); !errors.Is(err, ErrTunnelDown) || !strings.Contains(out.String(), "AM_TM_INIT_XAUTH_V6C") {
		t.Errorf("%v\n%s", err, &out)
	}
	b, err := os.ReadFile(transcript)
	if err != nil || !strings.Contains(string(b), "AM_TM_INIT_XAUTH_V6C") {
		t.Errorf("transcript: %v\n%s", err, b)
	}
	for _, secret := range []string{"PLANTED", "203.0.113.10", "ipsecmon"} {
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("%s is in the transcript:\n%s", secret, b)
		}
	}
}

func TestReadGatewayCannot(t *testing.T) {
	t.Parallel()
	file := asaServer(t, "MM_ACTIVE", "203.0.113.10", 0)
	for name, tt := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"no gateway here": {func(o *Options) { o.ConfigFile = "" }, "no gateways: give a file that has some with --config.file; none was found here"},
		"all of a file":   {func(o *Options) { o.Name, o.Record = "", "x" }, "--record: records one gateway: name one of hub, local"},
		"no such":         {func(o *Options) { o.Name = "hubb" }, `no gateway "hubb" in ` + file + ": it has hub, local"},
		"output":          {func(o *Options) { o.Output = "xml" }, "--output=xml: must be one of: text, json"},
		"not readable":    {func(o *Options) { o.Name = "local" }, "gateway local cannot be read: "},
		"not recordable":  {func(o *Options) { o.Name, o.Record = "local", filepath.Join(t.TempDir(), "x") }, "--record: a gateway of type strongswan"},
		"not writable":    {func(o *Options) { o.Record = filepath.Join(t.TempDir(), "a", "b") }, "--record: open "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			o := Options{
				ConfigFile: file, Name: "hub", Output: "text", Stdout: &out, Stderr: &out,
				Discover: func(context.Context, *config.Config) (*config.Config, error) {
					return nil, errors.New("none was found here")
				},
			}
			tt.change(&o)
			if err := Run(t.Context(), o); err == nil || !strings.HasPrefix(err.Error(), tt.want) || out.Len() > 0 {
				t.Errorf("%v, want %s; printed %q", err, tt.want, &out)
			}
		})
	}
}

// TestReadAllGateways: one that cannot be read does not hide the others, and counts.
func TestReadAllGateways(t *testing.T) {
	t.Parallel()
	file := asaServer(t, "MM_ACTIVE", "203.0.113.10", 1500)
	var out, notes bytes.Buffer
	o := Options{ConfigFile: file, Output: "text", Stdout: &out, Stderr: &notes}
	err := Run(t.Context(), o)
	if err == nil || !strings.HasPrefix(err.Error(), "gateway local cannot be read: ") || !strings.HasPrefix(out.String(), "hub (") {
		t.Errorf("%v\n%s%s", err, &out, &notes)
	}
	o.ConfigFile, o.Discover = "", func(_ context.Context, cfg *config.Config) (*config.Config, error) {
		if len(cfg.Gateways)+len(cfg.Peers) > 0 {
			t.Errorf("discovery for %+v", cfg)
		}
		return config.ReadAny(file, nil)
	}
	out.Reset()
	if again := Run(t.Context(), o); again == nil || again.Error() != err.Error() || !strings.HasPrefix(out.String(), "hub (") {
		t.Errorf("discovered: %v\n%s%s", again, &out, &notes)
	}
	o.Name = "kernel"
	if err := Run(t.Context(), o); err == nil || err.Error() != `no gateway "kernel" on this host: it has hub, local` {
		t.Errorf("another name: %v", err)
	}
}

// TestOutcomeOfAView: only where all expected tunnels are known to be up, all is well.
func TestOutcomeOfAView(t *testing.T) {
	t.Parallel()
	up, down, unknown, idle := expectedView{Up: "yes"}, expectedView{Up: "no"}, expectedView{Up: "unknown"}, expectedView{Up: "unknown", idle: true}
	for _, tt := range []struct {
		expected []expectedView
		want     error
	}{
		{nil, nil}, {[]expectedView{up, idle}, nil}, {[]expectedView{up, unknown}, errTunnelUnknown}, {[]expectedView{unknown, down}, ErrTunnelDown},
	} {
		if err := (&gatewayView{Expected: tt.expected}).outcome(); !errors.Is(err, tt.want) {
			t.Errorf("%+v: %v, want %v", tt.expected, err, tt.want)
		}
	}
}
