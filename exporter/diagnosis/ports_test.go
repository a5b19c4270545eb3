package diagnosis

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/internal/netio"
)

// said is an ICMP error of IPv4 that came several times.
func said(from netip.Addr, code uint8, times int) collectors.PathError {
	return collectors.PathError{Outcome: netio.Unreachable, Type: 3, Code: code, From: from, Count: times}
}

// ICMP codes of destination unreachable (RFC 792; RFC 1812, section 5.2.7.1).
const (
	netUnreachable, hostUnreachable, portUnreachable, prohibited = 0, 1, 3, 13
)

// reached is a protocol of which the last router before the peer, at hop 4, answers.
func reached(p protocols.Protocol) protocols.Result {
	return protocols.Result{Protocol: p, LastHop: 4, Last: hop(4)}
}

// Both ports are silent and echo is answered: what proves that the ports are filtered, and what
// does not.
func TestBothPortsSilent(t *testing.T) {
	both := []string{UDP500Blocked, UDP4500Blocked}
	for name, tt := range map[string]struct {
		change func(f *Facts)
		want   []string
	}{
		"nothing proves it": {func(*Facts) {}, nil},
		"the ladder shows it": {func(f *Facts) {
			f.Protocols = climbed(overtaken(protocols.UDP500), overtaken(protocols.UDP4500))
		}, both},
		"the ladder shows it for one": {func(f *Facts) {
			f.Protocols = climbed(overtaken(protocols.UDP500), reached(protocols.UDP4500))
		}, both[:1]},
		"both reach the last router": {func(f *Facts) { f.Protocols = climbed(reached(protocols.UDP500), reached(protocols.UDP4500)) }, nil},
		"a router refuses them": {func(f *Facts) {
			f.IKE.IKE.Error, f.IKE.NATT.Error = said(hop(2), prohibited, 4), said(hop(2), prohibited, 4)
		}, both},
		"a router rejects the ports": {func(f *Facts) {
			f.IKE.IKE.Error, f.IKE.NATT.Error = said(hop(2), portUnreachable, 2), said(hop(2), portUnreachable, 2)
		}, both},
		"one error is no refusal":   {func(f *Facts) { f.IKE.IKE.Error = said(hop(2), prohibited, 1) }, nil},
		"both were answered before": {func(f *Facts) { f.lastAnswer[udp500], f.lastAnswer[udp4500] = ago(60), ago(60) }, both},
		"one was answered before":   {func(f *Facts) { f.lastAnswer[udp4500] = ago(60) }, both[1:]},
		"the peer refuses both": {func(f *Facts) {
			f.IKE.IKE.Error, f.IKE.NATT.Error = said(hop(5), prohibited, 4), said(hop(5), prohibited, 4)
		}, []string{PeerRefuses}},
		"the peer refuses one":      {func(f *Facts) { f.IKE.IKE.Error = said(hop(5), prohibited, 4) }, both[:1]},
		"ESP in UDP is blocked too": {func(f *Facts) { f.Protocols = climbed(overtaken(protocols.UDP4500), overtaken(protocols.ESPInUDP)) }, both[1:]},
		"the peer refuses all": {func(f *Facts) {
			f.IKE.IKE.Error, f.IKE.NATT.Error = said(hop(5), prohibited, 4), said(hop(5), prohibited, 4)
			f.Protocols = climbed(overtaken(protocols.UDP500), protocols.Result{Protocol: protocols.UDP4500, State: protocols.Blocked, BlockedBy: hop(5)})
		}, []string{PeerRefuses}},
		"a router is beside the path": {func(f *Facts) { f.IKE.IKE.Error = said(hop(2), netUnreachable, 3) }, both[:1]},
	} {
		t.Run(name, func(t *testing.T) {
			f := reaching([methods]reaction{answers, silent, silent})
			f.Address = hop(5)
			tt.change(&f)
			if diff := cmp.Diff(tt.want, held(Evaluate(f))); diff != "" {
				t.Errorf("diagnoses (-want +got):\n%s", diff)
			}
			if !f.Doubtful() {
				t.Error("a ladder could show nothing more")
			}
		})
	}
}

// What was proven is cleared by an answer, and where the ladder gets to the last router.
func TestPortIsOpenAgain(t *testing.T) {
	f := reaching([methods]reaction{answers, silent, silent})
	f.Protocols = climbed(reached(protocols.UDP500), reached(protocols.UDP4500))
	if v := verdictOn(t, f, UDP500Blocked, ""); v.State != Absent {
		t.Errorf("with a ladder to the last router it is %v", v.State)
	}
	f = reaching([methods]reaction{answers, answers, answers})
	f.Protocols = climbed(overtaken(protocols.UDP500))
	if v := verdictOn(t, f, UDP500Blocked, ""); v.State != Absent {
		t.Errorf("answered, and an older ladder blocked: it is %v", v.State)
	}
	if f.Doubtful() {
		t.Error("a healthy peer wants a ladder")
	}
}

// Nothing at all is answered: who sent the ICMP errors decides.
func TestRefusals(t *testing.T) {
	all := func(e collectors.PathError) [methods]collectors.PathError {
		return [methods]collectors.PathError{e, e, e}
	}
	for name, tt := range map[string]struct {
		errors [methods]collectors.PathError
		want   []string
	}{
		"no error":                   {want: []string{PeerSilent}},
		"the peer prohibits":         {all(said(hop(5), prohibited, 3)), []string{PeerRefuses}},
		"the last router":            {all(said(hop(4), hostUnreachable, 1)), []string{NoRoute}},
		"a router without a route":   {all(said(hop(2), netUnreachable, 3)), []string{NoRoute}},
		"one error":                  {[methods]collectors.PathError{echo: said(hop(2), netUnreachable, 1)}, []string{PeerSilent}},
		"a filter for everything":    {all(said(hop(2), prohibited, 3)), []string{UDP500Blocked, UDP4500Blocked}},
		"a filter for echo":          {[methods]collectors.PathError{echo: said(hop(2), prohibited, 3)}, []string{PeerSilent}},
		"the peer refuses echo only": {[methods]collectors.PathError{echo: said(hop(5), prohibited, 3)}, []string{PeerSilent}},
		"a loop":                     {all(collectors.PathError{Outcome: netio.TimeExceeded, Type: 11, From: hop(3), Count: 2}), []string{NoRoute}},
	} {
		t.Run(name, func(t *testing.T) {
			f := reaching([methods]reaction{silent, silent, silent})
			f.Address = hop(5)
			f.ICMP.Error, f.IKE.IKE.Error, f.IKE.NATT.Error = tt.errors[echo], tt.errors[udp500], tt.errors[udp4500]
			f.Protocols = climbed(overtaken(protocols.ESP))
			got := held(Evaluate(f))
			if tt.want[0] == UDP500Blocked {
				tt.want = append(tt.want, ESPBlocked)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("diagnoses (-want +got):\n%s", diff)
			}
		})
	}
}

// A filter that answers port unreachable looks like a missing daemon, unless it refuses echo too.
func TestRejectIsNoMissingDaemon(t *testing.T) {
	f := reaching([methods]reaction{silent, refused, refused})
	f.Address = hop(5)
	closed := said(hop(5), portUnreachable, 1)
	closed.Outcome = netio.Refused
	f.IKE.IKE.Error, f.IKE.NATT.Error = closed, closed
	if diff := cmp.Diff([]string{IKERefused}, held(Evaluate(f))); diff != "" {
		t.Errorf("echo is silent (-want +got):\n%s", diff)
	}
	f.ICMP.Error = said(hop(5), portUnreachable, 3)
	if diff := cmp.Diff([]string{PeerRefuses}, held(Evaluate(f))); diff != "" {
		t.Errorf("echo is refused by port unreachable (-want +got):\n%s", diff)
	}
}

func TestESPInUDPBlocked(t *testing.T) {
	tunnel := func(inUDP gateways.Answer, in uint64) []Gateway {
		return []Gateway{watched("UUU", 30*time.Second, start, counting(in, 50), func(_ *Gateway, o *gateways.Observation) { o.NATT = inUDP })}
	}
	for name, tt := range map[string]struct {
		natt     reaction
		gateways []Gateway
		want     []string
	}{
		"4500 is answered":              {answers, nil, []string{ESPUDPBlocked}},
		"4500 is silent":                {silent, nil, []string{UDP4500Blocked}},
		"the tunnel receives nothing":   {answers, tunnel(gateways.Yes, 0), []string{ESPUDPBlocked, ESPOneWay}},
		"the tunnel receives in UDP":    {answers, tunnel(gateways.Yes, 7), nil},
		"a tunnel without UDP receives": {answers, tunnel(gateways.No, 7), []string{ESPUDPBlocked}},
	} {
		t.Run(name, func(t *testing.T) {
			f := reaching([methods]reaction{answers, answers, tt.natt})
			f.Gateways = tt.gateways
			f.Protocols = climbed(overtaken(protocols.ESPInUDP))
			if diff := cmp.Diff(tt.want, held(Evaluate(f))); diff != "" {
				t.Errorf("diagnoses (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSeverity(t *testing.T) {
	for _, name := range Names() {
		if s := SeverityOf(name); !s.AtLeast(Info) {
			t.Errorf("%s has severity %q", name, s)
		}
	}
	if !Critical.AtLeast(Warning) || !Warning.AtLeast(Warning) || Info.AtLeast(Warning) {
		t.Error("severities are out of order")
	}
	if got := SeverityOf("none"); got != "" {
		t.Errorf("an unknown name has severity %q", got)
	}
}

// Answers on the link that no socket gets are dropped by this host: nothing else is concluded from
// their absence.
func TestLocalFilter(t *testing.T) {
	for name, tt := range map[string]struct {
		reach [methods]reaction
		heard netio.Overheard
		want  []string
	}{
		"ICMP is dropped":         {[methods]reaction{silent, answers, answers}, netio.Overheard{ICMP: netio.Seen{Link: 9}, UDP: netio.Seen{Link: 4, Socket: 4}}, []string{LocalFilter}},
		"UDP is dropped":          {[methods]reaction{answers, silent, silent}, netio.Overheard{ICMP: netio.Seen{Link: 9, Socket: 9}, UDP: netio.Seen{Link: 4}}, []string{LocalFilter}},
		"all is dropped":          {[methods]reaction{silent, silent, silent}, netio.Overheard{ICMP: netio.Seen{Link: 9}, UDP: netio.Seen{Link: 4}}, []string{LocalFilter}},
		"one answer is received":  {[methods]reaction{silent, answers, answers}, netio.Overheard{ICMP: netio.Seen{Link: 9, Socket: 1}}, []string{ICMPBlocked, PMTUBlackHole}},
		"nothing is on the link":  {[methods]reaction{silent, answers, answers}, netio.Overheard{}, []string{ICMPBlocked, PMTUBlackHole}},
		"too few are on the link": {[methods]reaction{silent, answers, answers}, netio.Overheard{ICMP: netio.Seen{Link: 2}}, []string{ICMPBlocked, PMTUBlackHole}},
	} {
		t.Run(name, func(t *testing.T) {
			f := reaching(tt.reach)
			f.PMTU = searched([methods]pmtu.Result{udp500: ended(search.BlackHole)})
			f.Protocols = climbed()
			f.Protocols.Overheard = tt.heard
			if diff := cmp.Diff(tt.want, held(Evaluate(f))); diff != "" {
				t.Errorf("diagnoses (-want +got):\n%s", diff)
			}
		})
	}
}

// Policy routing sends echo by another uplink than IKE, and the uplink of IKE dies. A gateway that
// never answered IKE may ignore this source.
func TestWayOfIKEDies(t *testing.T) {
	for name, tt := range map[string]struct {
		apart  []collectors.Method
		before bool
		want   []string
	}{
		"echo apart":                 {[]collectors.Method{collectors.ICMP}, true, []string{PeerSilent}},
		"echo apart, never answered": {[]collectors.Method{collectors.ICMP}, false, nil},
		"together":                   {nil, true, []string{PeerSilent}},
	} {
		f := reaching([methods]reaction{silent, silent, silent})
		if f.Apart = tt.apart; len(tt.apart) > 0 {
			f.ICMP = nil
		}
		if tt.before {
			f.lastAnswer[udp500] = ago(60)
		}
		if diff := cmp.Diff(tt.want, held(Evaluate(f))); diff != "" {
			t.Errorf("%s: diagnoses (-want +got):\n%s", name, diff)
		}
	}
}
