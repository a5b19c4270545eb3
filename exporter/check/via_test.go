package check

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/subject"
)

func TestWays(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flags []string
		err   string
	}{
		{"an interface", []string{"lo"}, ""},
		{"addresses", []string{"192.0.2.1", "2001:db8::1", "::ffff:192.0.2.2"}, ""},
		{
			"everything wrong",
			[]string{"nonesuch0", "192.0.2.300", "fe80::1%lo", "0.0.0.0", "lo", "lo"},
			"--via=nonesuch0: neither an interface of this host nor an IP address\n" +
				"--via=192.0.2.300: neither an interface of this host nor an IP address\n" +
				"--via=fe80::1%lo: an address with a zone is not unique: give the interface alone, --via=lo\n" +
				"--via=0.0.0.0: not the address of one host\n" +
				"--via=lo: listed twice",
		},
	} {
		got, err := ways(tt.flags)
		if text := errorText(err); text != tt.err || err == nil && len(got) != len(tt.flags) {
			t.Errorf("%s: %v, %s", tt.name, got, text)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestExpandVia(t *testing.T) {
	peers, err := config.Parse("config.yml", []byte(`
peers:
- {name: four, address: 203.0.113.1, source_address: 192.0.2.9, interface: eth9}
- {name: six, address: "2001:db8::1"}
- {name: either, address: gateway.example}
- {name: only6, address: gateway.example, family: ip6}
`))
	if err != nil {
		t.Fatal(err)
	}
	all, err := ways([]string{"lo", "192.0.2.1"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := expandVia(peers.Peers, all)
	const want = `--via=192.0.2.1: peer "six" is not of this address family` + "\n" + `--via=192.0.2.1: peer "only6" is not of this address family`
	if text := errorText(err); text != want {
		t.Errorf("error %q", text)
	}
	var lines []string
	for _, p := range got {
		lines = append(lines, p.Name+" "+subject.Via(&p)+" "+p.Family.String())
	}
	if diff := cmp.Diff([]string{"four lo any", "four 192.0.2.1 ip4", "six lo any", "either lo any", "either 192.0.2.1 ip4", "only6 lo ip6"}, lines); diff != "" {
		t.Errorf("peers (-want +got):\n%s", diff)
	}
	if same, err := expandVia(peers.Peers, nil); err != nil || len(same) != len(peers.Peers) {
		t.Errorf("without --via: %v, %v", same, err)
	}
}

// checkVia checks a peer over several ways from the client's place.
func (l *lab) checkVia(t *testing.T, output, peer string, via ...string) (string, error) {
	t.Helper()
	cfg, err := config.FromArguments([]string{peer})
	if err != nil {
		t.Fatal(err)
	}
	l.Client.Do(t, func() {
		all, err := ways(via)
		if err == nil {
			cfg.Peers, err = expandVia(cfg.Peers, all)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	c := l.checker(t, cfg, false)
	var stdout bytes.Buffer
	err = c.run(t.Context(), cfg, &Options{Output: output, Timeout: 2 * time.Minute, Stdout: &stdout, Stderr: &bytes.Buffer{}})
	return stdout.String(), err
}

// TestCheckVia: the same box over another provider works. Ways by interface are tested with the
// whole program, whose threads all are in the client's place.
func TestCheckVia(t *testing.T) {
	t.Parallel()
	for name, v6 := range map[string]bool{"IPv4": false, "IPv6": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			second := l.AddUplink(t)
			l.Apply(t, "S6c")
			via := []string{l.ClientAddr(v6).String(), second.Addr(v6).String()}
			out, err := l.checkVia(t, "json", "hq="+l.Address(v6), via...)
			if !errors.Is(err, ErrFault) {
				t.Errorf("error %v", err)
			}
			d := decode(t, out)
			if len(d) != 2 {
				t.Fatalf("%d reports", len(d))
			}
			for i, want := range []struct {
				mtu       int
				healthy   bool
				leavingBy string
			}{{1400, false, "net1"}, {1500, true, second.Interface()}} {
				r := d[i]
				if *r.Via != via[i] || r.Healthy != want.healthy || r.MTU[1].Bytes != want.mtu || r.Source != via[i] || r.Interface != want.leavingBy {
					t.Errorf("via %s: %+v", via[i], r)
				}
			}
			want := "Via " + via[1] + " all tests pass, via " + via[0] + " packets above 1400 bytes vanish: the fault is on the path via " + via[0] + "."
			if d[0].Comparison != want || d[1].Comparison != want {
				t.Errorf("comparison %q", d[0].Comparison)
			}
		})
	}
}

// TestCheckViaNothing: a way that does not work is not measured, and that is the exit code, not the
// fault over the other one.
func TestCheckViaNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Apply(t, "S11b")
	out, err := l.checkVia(t, "text", "hq="+l.Address(false), l.ClientAddr(false).String(), "192.0.2.1")
	if !errors.Is(err, ErrUnmeasured) || errorText(err) != "could not measure: hq via 192.0.2.1" {
		t.Errorf("error %v", err)
	}
	for _, want := range []string{
		"Via 10.77.1.1 UDP port 4500 is not answered, via 192.0.2.1 nothing could be measured: this does not locate the fault.",
		"hq (10.77.4.2) via 192.0.2.1: unknown RESULTS",
	} {
		if !strings.Contains(flat(out), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}
