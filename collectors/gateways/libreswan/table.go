package libreswan

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"ipsec_path_exporter/collectors/gateways"
)

// A traffic is a line of `whack --trafficstatus`.
type traffic struct {
	in, out  gateways.Count
	added    string
	username string
}

var (
	// #2: "road"[1] 203.0.113.9, username=joe, type=ESP, add_time=1700000000, inBytes=84, outBytes=84, maxBytes=2^63B, id='@b'.
	trafficLine = regexp.MustCompile(`^(#\d+): "[^"]+".*?, (?:username=([^,]*), )?type=`)
	// In the tail of a child's state: the IKE SA that it belongs to.
	parentOf = regexp.MustCompile(`; (?:isakmp|IKE SA )(#\d+);`)
)

func parseTraffic(out string) map[string]traffic {
	all := map[string]traffic{}
	for line := range strings.Lines(out) {
		line = codeOfLine.ReplaceAllString(strings.TrimSpace(line), "")
		m := trafficLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		t := traffic{username: m[2], added: value(line, "add_time")}
		t.in, t.out = counted(value(line, "inBytes")), counted(value(line, "outBytes"))
		all[m[1]] = t
	}
	return all
}

// value finds ", name=value".
func value(line, name string) string {
	_, after, _ := strings.Cut(line, ", "+name+"=")
	v, _, _ := strings.Cut(after, ",")
	return v
}

func counted(s string) gateways.Count {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return gateways.Count{}
	}
	return gateways.Counted(v)
}

// table sorts the states into IKE SAs and children.
func (st *status) table(bytes map[string]traffic, pathMTU func(local, remote netip.Addr) int) gateways.Table {
	t := gateways.Table{Info: gateways.Info{Type: Type, Version: st.version}, Unparsed: st.unparsed}
	up := map[string]bool{}         // IKE SAs that have a child
	username := map[string]string{} // by IKE SA
	for i := range st.states {
		s := &st.states[i]
		if !isChild(s.word) {
			continue
		}
		id, local := st.identity(s)
		flow := bytes[s.serial]
		id.Username = flow.username
		c := gateways.ChildSA{
			Key: s.serial, Peer: id, Name: id.Name, State: childState(s.word), VendorState: s.word,
			// A daemon that was restarted counts its SAs from 1 again.
			CounterKey: s.serial + " " + flow.added,
			In:         gateways.Traffic{Bytes: flow.in}, Out: gateways.Traffic{Bytes: flow.out},
		}
		if c.State.Up() {
			c.NATT = gateways.AnswerOf(s.port != 500)
			if pathMTU != nil {
				c.PathMTU = pathMTU(local, id.Address)
			}
		}
		if m := parentOf.FindStringSubmatch(s.tail); m != nil {
			up[m[1]] = up[m[1]] || c.State.Up()
			username[m[1]] = id.Username
		}
		t.Children = append(t.Children, c)
	}
	for i := range st.states {
		if s := &st.states[i]; !isChild(s.word) {
			t.IKE = append(t.IKE, st.ike(s, up[s.serial], username[s.serial]))
		}
	}
	return t
}

func (st *status) ike(s *state, childUp bool, username string) gateways.IKESA {
	id, _ := st.identity(s)
	id.Username = username
	sa := gateways.IKESA{
		Key: s.serial, Peer: id, Version: version(s.word), State: ikeState(s.word), VendorState: s.word,
		Initiator: strings.HasSuffix(strings.TrimRight(s.word, "0123456789"), "_I"), Rekey: strings.Contains(s.word, "REKEY_IKE"),
	}
	// The last message of mode config is not always waited for: a tunnel may be in use for hours with this word.
	if childUp && (sa.State == gateways.XAuth || sa.State == gateways.ModeCfg) {
		sa.State = gateways.Established
	}
	return sa
}

// plain is the word without the prefixes that some versions have.
func plain(word string) string { return strings.TrimPrefix(strings.TrimPrefix(word, "STATE_"), "V2_") }

// starts tells whether the word has one of the prefixes.
func starts(word string, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(word, p) {
			return true
		}
	}
	return false
}

// version is that of IKE. The words of IKEv1 are its own in all versions of pluto.
func version(word string) int {
	if starts(plain(word), "MAIN_", "AGGR_", "QUICK_", "XAUTH_", "MODE_CFG_", "INFO") {
		return 1
	}
	return 2
}

// isChild tells the states of children from those of IKE SAs.
func isChild(word string) bool {
	return starts(plain(word), "QUICK_", "IPSEC_") || strings.Contains(word, "CHILD")
}

// ikeState sorts the words of IKE SAs. In IKEv1 the odd one of each mode is established: MAIN_I4 for the initiator of main mode,
// MAIN_R3 for its responder; PARENT_I3 and PARENT_R2 are IKEv2 before version 4.
func ikeState(word string) gateways.IKEState {
	w := plain(word)
	switch {
	case strings.Contains(w, "DELETE"), strings.HasSuffix(w, "_DEL"):
		return gateways.IKEClosing
	case w == "MAIN_I4", w == "MAIN_R3", w == "AGGR_I2", w == "AGGR_R2", w == "PARENT_I3", w == "PARENT_R2", w == "ESTABLISHED_IKE_SA":
		return gateways.Established
	case starts(w, "XAUTH_"):
		return gateways.XAuth
	case starts(w, "MODE_CFG_"):
		return gateways.ModeCfg
	case starts(w, "MAIN_", "AGGR_", "PARENT_", "IKE_", "REKEY_IKE_"):
		return gateways.Connecting
	}
	return gateways.IKEUnknown
}

// childState sorts the words of children.
func childState(word string) gateways.ChildState {
	w := plain(word)
	switch {
	case strings.Contains(w, "DELETE"), strings.HasSuffix(w, "_DEL"):
		return gateways.ChildClosing
	case w == "QUICK_I2", w == "QUICK_R2", w == "IPSEC_I", w == "IPSEC_R", w == "ESTABLISHED_CHILD_SA":
		return gateways.Installed
	case starts(w, "QUICK_", "IKE_AUTH_CHILD_", "NEW_CHILD_", "REKEY_CHILD_"):
		return gateways.Installing
	}
	return gateways.ChildUnknown
}

// parseGlobal takes from `whack --globalstatus`, which has a name=value a line, what tells about failures.
func parseGlobal(out string) []gateways.DeviceCounter {
	var all []gateways.DeviceCounter
	for line := range strings.Lines(out) {
		line = codeOfLine.ReplaceAllString(strings.TrimSpace(line), "")
		name, v, ok := strings.Cut(line, "=")
		n := counted(v)
		if !ok || !n.Known || !strings.HasPrefix(name, "total.") {
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
