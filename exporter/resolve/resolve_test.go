package resolve_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/exporter/resolve"
	"ipsec_path_exporter/internal/netio"
)

func addrs(all ...string) []netip.Addr {
	out := make([]netip.Addr, len(all))
	for i, a := range all {
		out[i] = netip.MustParseAddr(a)
	}
	return out
}

// routed are routes with these sources, by the destination; to others there is none.
func routed(sources map[string]string) resolve.Route {
	return func(to netip.Addr) (netio.Route, error) {
		source, ok := sources[to.String()]
		switch {
		case !ok:
			return netio.Route{}, errUnreachable
		case source == "":
			return netio.Route{}, nil
		case strings.HasPrefix(source, "tunnel "):
			return netio.Route{Src: netip.MustParseAddr(strings.TrimPrefix(source, "tunnel ")), Tunnel: "device ipsec0 (xfrm)"}, nil
		}
		return netio.Route{Src: netip.MustParseAddr(source)}, nil
	}
}

var errUnreachable = errors.New("network is unreachable")

// TestOrder: RFC 6724, section 10, has most of the cases, there with a preference for IPv6.
func TestOrder(t *testing.T) {
	for name, tt := range map[string]struct {
		sources map[string]string
		answer  []string
		want    []string
	}{
		"IPv4 is preferred": {
			sources: map[string]string{"203.0.113.1": "192.0.2.1", "2001:db8::1": "2001:db8:1::1"},
			answer:  []string{"2001:db8::1", "203.0.113.1"}, want: []string{"203.0.113.1", "2001:db8::1"},
		},
		"also from behind NAT": {
			sources: map[string]string{"203.0.113.1": "10.0.0.1", "2001:db8::1": "2001:db8:1::1"},
			answer:  []string{"2001:db8::1", "203.0.113.1"}, want: []string{"203.0.113.1", "2001:db8::1"},
		},
		"no IPv4": {
			sources: map[string]string{"2001:db8::1": "2001:db8:1::1"},
			answer:  []string{"203.0.113.1", "2001:db8::1"}, want: []string{"2001:db8::1", "203.0.113.1 unusable"},
		},
		"no IPv6": {
			sources: map[string]string{"203.0.113.1": "192.0.2.1"},
			answer:  []string{"2001:db8::1", "203.0.113.1"}, want: []string{"203.0.113.1", "2001:db8::1 unusable"},
		},
		"neither": {
			answer: []string{"2001:db8::1", "203.0.113.1"}, want: []string{"203.0.113.1 unusable", "2001:db8::1 unusable"},
		},
		"a route without a source": {
			sources: map[string]string{"203.0.113.1": "", "2001:db8::1": "2001:db8:1::1"},
			answer:  []string{"203.0.113.1", "2001:db8::1"}, want: []string{"2001:db8::1", "203.0.113.1 unusable"},
		},
		"a route into a tunnel of this host": {
			sources: map[string]string{"203.0.113.1": "tunnel 192.0.2.1", "2001:db8::1": "2001:db8:1::1"},
			answer:  []string{"203.0.113.1", "2001:db8::1"}, want: []string{"2001:db8::1", "203.0.113.1 unusable"},
		},
		"rule 2: an IPv4 source of link-local scope": {
			sources: map[string]string{"203.0.113.1": "169.254.13.78", "2001:db8::1": "2001:db8:1::1"},
			answer:  []string{"203.0.113.1", "2001:db8::1"}, want: []string{"2001:db8::1", "203.0.113.1"},
		},
		"rule 2: an IPv6 source of link-local scope": {
			sources: map[string]string{"2001:db8::1": "fe80::1", "2001:db8:3::1": "2001:db8:1::1"},
			answer:  []string{"2001:db8::1", "2001:db8:3::1"}, want: []string{"2001:db8:3::1", "2001:db8::1"},
		},
		"rule 5: a source of another label": {
			sources: map[string]string{"2001:db8:3::1": "2002:c633:6401::2", "2002:c633:6401::1": "2002:c633:6401::2"},
			answer:  []string{"2001:db8:3::1", "2002:c633:6401::1"}, want: []string{"2002:c633:6401::1", "2001:db8:3::1"},
		},
		"rule 5: a unique local source": {
			sources: map[string]string{"2001:db8::1": "fd00::1", "fd00:1::1": "fd00::1"},
			answer:  []string{"2001:db8::1", "fd00:1::1"}, want: []string{"fd00:1::1", "2001:db8::1"},
		},
		"rule 6: native before 6to4 and Teredo": {
			sources: map[string]string{"2001::1": "2001::2", "2002:c633:6401::1": "2002:c633:6402::1", "2a00::1": "2a00:1::1", "fd00::1": "fd00::2"},
			answer:  []string{"2001::1", "fd00::1", "2002:c633:6401::1", "2a00::1"}, want: []string{"2a00::1", "2002:c633:6401::1", "2001::1", "fd00::1"},
		},
		"rule 8: the smaller scope": {
			sources: map[string]string{"2001:db8::1": "2001:db8:1::1", "fe80::1": "fe80::2"},
			answer:  []string{"2001:db8::1", "fe80::1"}, want: []string{"fe80::1", "2001:db8::1"},
		},
		"rule 9: the longer common prefix": {
			sources: map[string]string{"2001:db8:1::1": "2001:db8:3::2", "2001:db8:3ffe::1": "2001:db8:3f44::2"},
			answer:  []string{"2001:db8:1::1", "2001:db8:3ffe::1"}, want: []string{"2001:db8:1::1", "2001:db8:3ffe::1"},
		},
		"rule 9: not of the interface identifier, nor of IPv4": {
			sources: map[string]string{
				"2001:db8::1": "2001:db8::9000:0:0:1", "2001:db8::8000:0:0:1": "2001:db8::9000:0:0:1", "192.0.2.1": "203.0.113.8", "203.0.113.9": "203.0.113.8",
			},
			answer: []string{"2001:db8::8000:0:0:1", "203.0.113.9", "192.0.2.1", "2001:db8::1"},
			want:   []string{"192.0.2.1", "203.0.113.9", "2001:db8::1", "2001:db8::8000:0:0:1"},
		},
	} {
		r := &exportertest.Names{}
		r.Set("name.example", addrs(tt.answer...)...)
		all, err := resolve.All(t.Context(), r, routed(tt.sources), &config.Peer{Address: "name.example"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got []string
		for _, a := range all {
			text := a.Addr.String()
			if a.Err != nil {
				text += " unusable"
			}
			got = append(got, text)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestResolve(t *testing.T) {
	r := &exportertest.Names{}
	r.Set("both.example", addrs("2001:db8::2", "203.0.113.9", "203.0.113.2", "2001:db8::1")...)
	r.Set("mapped.example", addrs("::ffff:203.0.113.7", "203.0.113.7")...)
	r.Set("six.example", addrs("2001:db8::6")...)
	everywhere := func(to netip.Addr) (netio.Route, error) { return netio.Route{Src: to.Next()}, nil }
	for _, tt := range []struct {
		host   string
		family config.Family
		source string
		now    string
		want   string
		err    error
	}{
		{host: "both.example", want: "203.0.113.2"},
		{host: "both.example", family: config.FamilyIP4, want: "203.0.113.2"},
		{host: "both.example", family: config.FamilyIP6, want: "2001:db8::1"},
		{host: "both.example", source: "2001:db8:1::1", want: "2001:db8::1"},
		// The address in use stays as long as the name has it, also where another one would be
		// chosen today.
		{host: "both.example", now: "203.0.113.9", want: "203.0.113.9"},
		{host: "both.example", now: "2001:db8::2", want: "2001:db8::2"},
		{host: "both.example", now: "203.0.113.3", want: "203.0.113.2"},
		{host: "both.example", family: config.FamilyIP6, now: "203.0.113.9", want: "2001:db8::1"},
		{host: "mapped.example", want: "203.0.113.7"},
		{host: "six.example", want: "2001:db8::6"},
		{host: "six.example", family: config.FamilyIP4, err: resolve.ErrNoAddress},
		{host: "none.example", err: resolve.ErrNoAddress},
	} {
		var now netip.Addr
		if tt.now != "" {
			now = netip.MustParseAddr(tt.now)
		}
		p := &config.Peer{Address: tt.host}
		p.Family = tt.family
		if tt.source != "" {
			p.SourceAddress = netip.MustParseAddr(tt.source)
		}
		all, err := resolve.All(t.Context(), r, everywhere, p)
		got := resolve.Choose(all, now)
		if !errors.Is(err, tt.err) || got.IsValid() && got.String() != tt.want || !got.IsValid() && tt.want != "" {
			t.Errorf("%s %s now %s: %v %v, want %s %v", tt.host, tt.family, tt.now, got, err, tt.want, tt.err)
		}
	}
	r.Fail(&net.DNSError{Err: "no such host", Name: "both.example", IsNotFound: true})
	_, err := resolve.All(t.Context(), r, everywhere, &config.Peer{Address: "both.example"})
	if want := `cannot resolve "both.example": lookup both.example: no such host`; err == nil || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
}

// TestNamesAreLookedUpTogether: name servers that do not answer cost the time of one name.
func TestNamesAreLookedUpTogether(t *testing.T) {
	var text strings.Builder
	text.WriteString("peers:\n")
	for i := range 100 {
		fmt.Fprintf(&text, "- {address: vpn%d.example.net}\n", i)
	}
	cfg, err := config.Load(exportertest.ConfigFile(t, text.String()))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		found, problems := resolve.Peers(t.Context(), silentNames{}, cfg.Peers)
		if took := time.Since(began); took != resolve.Timeout {
			t.Errorf("it took %v", took)
		}
		if len(found) != 100 || len(problems) != 100 {
			t.Errorf("%d addresses, %d problems", len(found), len(problems))
		}
		for _, err := range problems {
			if !strings.HasPrefix(err.Error(), "peer vpn") {
				t.Errorf("problem %q names no peer", err)
			}
		}
	})
}

// silentNames are name servers that do not answer.
type silentNames struct{}

// LookupNetIP implements resolver.
func (silentNames) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
