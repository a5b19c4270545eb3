package libreswan

import (
	"cmp"
	"context"
	"regexp"
	"strings"

	"ipsec_path_exporter/collectors/gateways"
)

// A traffic is a line of `whack --trafficstatus`.
type traffic struct {
	connection string
	in, out    gateways.Count
	added      string
	username   string
}

// #2: "road"[1] 203.0.113.9, username=joe, type=ESP, add_time=1700000000, inBytes=84, outBytes=84, maxBytes=2^63B, id='@b'.
// Version 3.12 has XAUTHuser=joe, type=ESP,  add_time=1700000000.
var trafficLine = regexp.MustCompile(`^(#\d+): "([^"]+)"((?:\[\d+\])*).*?, (?:(?:username|XAUTHuser)=([^,]*), )?type=`)

func parseTraffic(ctx context.Context, out string) map[string]traffic {
	all := map[string]traffic{}
	for line := range gateways.Lines(ctx, out) {
		line = codeOfLine.ReplaceAllString(strings.TrimSpace(line), "")
		m := trafficLine.FindStringSubmatch(line)
		if m == nil || len(all) >= gateways.MaxSAs {
			continue
		}
		all[m[1]] = traffic{
			connection: m[2] + m[3], username: m[4], added: value(line, "add_time"),
			in: gateways.ParseCount(value(line, "inBytes")), out: gateways.ParseCount(value(line, "outBytes")),
		}
	}
	return all
}

// value finds " name=value,".
func value(line, name string) string {
	_, after, _ := strings.Cut(line, " "+name+"=")
	v, _, _ := strings.Cut(after, ",")
	return v
}

func (st *status) assemble(ctx context.Context, bytes map[string]traffic, pathMTU gateways.PathMTU) gateways.Table {
	t := st.table
	t.Info = gateways.Info{Type: Type, Version: st.version}
	// Of an IKE SA, or of a connection where a child does not show its IKE SA.
	up, username := map[string]bool{}, map[string]string{}
	for i := range st.states {
		s := &st.states[i]
		if _, counted := bytes[s.serial]; s.ike == gateways.Established && (counted || st.spis[s.serial]) { // a child, before 3.20
			s.class = class{version: s.version, child: true, inst: gateways.Installed}
		}
		if !s.child || ctx.Err() != nil {
			continue
		}
		c := st.childSA(s, bytes[s.serial], pathMTU)
		t.Children = append(t.Children, c)
		parent := cmp.Or(s.parent, s.connection)
		up[parent] = up[parent] || c.State.Up()
		username[parent] = c.Peer.Username
	}
	for i := range st.states {
		if s := &st.states[i]; !s.child {
			t.IKE = append(t.IKE, st.ikeSA(s, up[s.serial] || up[s.connection], cmp.Or(username[s.serial], username[s.connection])))
		}
	}
	for serial, flow := range bytes {
		st.implies(serial, flow.connection)
	}
	for serial, s := range st.implied {
		if !st.shown[serial] {
			id, _ := st.identity(s)
			t.Doubt(id)
		}
	}
	return t
}

func (st *status) childSA(s *state, flow traffic, pathMTU gateways.PathMTU) gateways.ChildSA {
	id, local := st.identity(s)
	id.Username = flow.username
	c := gateways.ChildSA{
		Key: s.serial, Peer: id, Name: id.Name, State: s.inst, VendorState: s.word,
		// A daemon that was restarted counts its SAs from 1 again.
		CounterKey: s.serial + " " + flow.added,
		In:         gateways.Traffic{Bytes: flow.in}, Out: gateways.Traffic{Bytes: flow.out},
	}
	if c.State.Up() {
		c.PathMTU = pathMTU.Of(local, id.Address)
		if !s.tcp {
			c.NATT = gateways.AnswerOf(s.port != 500)
		}
	}
	return c
}

func (st *status) ikeSA(s *state, childUp bool, username string) gateways.IKESA {
	id, _ := st.identity(s)
	id.Username = username
	sa := gateways.IKESA{
		Key: s.serial, Peer: id, Version: s.version, State: s.ike, VendorState: s.word, Initiator: s.initiator,
		Rekey: strings.Contains(s.word, "REKEY_IKE") || strings.Contains(s.word, "rekey IKE SA"),
	}
	// Pluto does not always wait for the last message of mode config: a tunnel may be in use for
	// hours in this state.
	if childUp && (sa.State == gateways.XAuth || sa.State == gateways.ModeCfg) {
		sa.State = gateways.Established
	}
	return sa
}

// maxCounters is several times the number of counters that any version has.
const maxCounters = 10_000

// parseGlobal reads the failure counters from `whack --globalstatus`, which has one name=value per
// line.
func parseGlobal(ctx context.Context, out string) []gateways.DeviceCounter {
	var all []gateways.DeviceCounter
	for line := range gateways.Lines(ctx, out) {
		line = codeOfLine.ReplaceAllString(strings.TrimSpace(line), "")
		name, v, ok := strings.Cut(line, "=")
		n := gateways.ParseCount(v)
		if len(all) >= maxCounters || !ok || !n.Known || !strings.HasPrefix(name, "total.") {
			continue
		}
		var kind string
		switch {
		case name == "total.ike.ikev1.failed", name == "total.ike.ikev2.failed":
			kind = "ike_failed"
		case strings.Contains(name, ".sent.notifies.error."):
			kind = "ike_error_notify_sent"
		case strings.Contains(name, ".recv.notifies.error."):
			kind = "ike_error_notify_received"
		default:
			continue
		}
		all = append(all, gateways.DeviceCounter{Kind: kind, Key: name, Value: n.Value})
	}
	return all
}
