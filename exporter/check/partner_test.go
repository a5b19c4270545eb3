package check

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/partners"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/session"
)

func keyFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestPartnerFlags(t *testing.T) {
	t.Parallel()
	good, short := keyFile(t, "a key that both ends have"), keyFile(t, "secret")
	for name, tt := range map[string]struct {
		partner, file, want string
	}{
		"no key":        {"192.0.2.1", "", "--partner and --partner-key-file need each other"},
		"no partner":    {"", good, "--partner and --partner-key-file need each other"},
		"no address":    {"vpn.example.net", good, "--partner=vpn.example.net: must be an IP address, or ADDRESS:PORT"},
		"a bad port":    {"192.0.2.1:0", good, "--partner=192.0.2.1:0: must be an IP address, or ADDRESS:PORT"},
		"no file":       {"192.0.2.1", good + ".missing", "no such file"},
		"a short key":   {"192.0.2.1", short, "not a key: 6 bytes (must have 16 to 4096)"},
		"all is well":   {"192.0.2.1", good, ""},
		"with a port":   {"192.0.2.1:1862", good, ""},
		"IPv6":          {"2001:db8::1", good, ""},
		"no such thing": {"", "", ""},
	} {
		o := Options{Targets: []string{"203.0.113.10"}, Output: "text", Timeout: minTimeout, Partner: tt.partner, PartnerKeyFile: tt.file}
		cfg, err := o.Peers(t.Context())
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && (cfg.Peers[0].Partner.Configured() != (tt.partner != "") || tt.partner == "192.0.2.1:1862" && cfg.Peers[0].Partner.UDPPort() != 1862) {
			t.Errorf("%s: %+v", name, cfg.Peers[0].Partner)
		}
	}
}

// TestPartner: a check shows both directions, and that of a partner with another key is no fault.
func TestPartner(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	log := slog.New(slog.DiscardHandler)
	theirs := partners.Peer{Name: "branch", Addr: l.ClientAddr(false), Partner: config.Partner{KeyFile: keyFile(t, "a key that both ends have")}}
	var stack *netio.Stack
	l.Server.Do(t, func() {
		var err error
		if stack, err = netio.Open(netio.Config{Limits: netio.DefaultLimits, Log: log}); err != nil {
			t.Fatal(err)
		}
	})
	reflector := partners.New(stack, func() (config.Partners, []partners.Peer) {
		return config.Partners{Addr: netip.IPv6Unspecified(), Port: session.Port, Limits: session.DefaultLimits()}, []partners.Peer{theirs}
	}, log)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = reflector.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended; stack.Close() })
	l.RewriteDSCP(t, 0, netlab.Reverse)
	check := func(file, output string) string {
		cfg, err := config.FromArguments([]string{l.Address(false)})
		if err != nil {
			t.Fatal(err)
		}
		if err := (&Options{Partner: l.Address(false), PartnerKeyFile: file}).overridePartner(cfg.Peers); err != nil {
			t.Fatal(err)
		}
		text, notes, err := runReport(t, l.checker(t, cfg, false), cfg, output)
		if err != nil {
			t.Errorf("%v\n%s%s", err, text, notes)
		}
		return text
	}
	text := check(theirs.Partner.KeyFile, "text")
	for _, want := range []string{"partner up", "to the partner 0 lost", "path MTU 1500 bytes, as the link, fragments pass, DSCP 10 arrives", "DSCP 10 arrives as 0"} {
		if !strings.Contains(strings.Join(strings.Fields(text), " "), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if text := check(keyFile(t, "a key that one end has"), "json"); !strings.Contains(text, `"state": "wrong_key"`) {
		t.Errorf("no wrong key in\n%s", text)
	}
}
