package strongswan

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/strongswan/govici/vici"

	"ipsec_path_exporter/collectors/gateways"
)

// Words of charon.
const (
	unnamed = "(unnamed)" // the connection of an SA that it has not yet found a configuration for
	anyone  = "%any"      // an address or identity that it does not know
)

type tableBuilder struct {
	now       time.Time
	pathMTU   gateways.PathMTU
	userspace bool

	gateways.Table
}

// add takes one message: one IKE SA, under the name of its connection, with its children.
func (t *tableBuilder) add(m *vici.Message) {
	t.others(m, gateways.Identity{})
	sections(m, func(conn string, sa *vici.Message) {
		peer := identity(conn, sa)
		if list, ok := sa.Get("child-sas").(*vici.Message); ok {
			t.others(list, peer)
		} else if text(sa, "state") == "ESTABLISHED" { // charon lists the children of each IKE SA, also if there are none.
			t.SkipSA(conn+": list-sa message without child-sas", peer)
		}
		var children []gateways.ChildSA
		sections(section(sa, "child-sas"), func(name string, c *vici.Message) {
			if text(c, "state") != "ROUTED" { // A policy that waits for traffic is no SA.
				children = append(children, child(name, peer, c))
			}
		})
		ike := t.ikeSA(peer, sa, children)
		mtu := t.mtu(sa)
		for i := range children {
			c := &children[i]
			if ike.State == gateways.IKEClosing {
				c.State = gateways.ChildClosing // charon shows INSTALLED while it sends a delete to a dead peer
			}
			if c.State.Up() {
				c.PathMTU = mtu
			}
		}
		t.IKE = append(t.IKE, ike)
		t.Children = append(t.Children, children...)
	})
}

// others takes note of the entries of a list of SAs that are not SAs.
func (t *tableBuilder) others(list *vici.Message, peer gateways.Identity) {
	for _, key := range list.Keys() {
		if _, ok := list.Get(key).(*vici.Message); !ok {
			t.SkipSA(key+": entry of a list of SAs that is not a section", peer)
		}
	}
}

func (t *tableBuilder) mtu(sa *vici.Message) int {
	local, err := netip.ParseAddr(text(sa, "local-host"))
	remote, err2 := netip.ParseAddr(text(sa, "remote-host"))
	if err != nil || err2 != nil || t.userspace {
		return 0
	}
	return t.pathMTU.Of(local, remote)
}

func (t *tableBuilder) ikeSA(peer gateways.Identity, sa *vici.Message, children []gateways.ChildSA) gateways.IKESA {
	word := text(sa, "state")
	if word == "" {
		t.SkipSA("list-sa message without the state of an IKE SA", peer)
	}
	out := gateways.IKESA{
		Key:  text(sa, "initiator-spi") + " " + text(sa, "responder-spi"),
		Peer: peer, VendorState: word, Doing: doing(sa), Initiator: text(sa, "initiator") == "yes",
	}
	out.Version, _ = strconv.Atoi(text(sa, "version"))
	out.State = ikeState(word)
	if out.Version == 1 {
		childUp := slices.ContainsFunc(children, func(c gateways.ChildSA) bool { return c.State.Up() })
		out.State = phase(out.State, sa, childUp)
	}
	if age, err := strconv.ParseInt(text(sa, "established"), 10, 32); err == nil && age >= 0 {
		out.Established = t.now.Add(-time.Duration(age) * time.Second)
	}
	return out
}

func identity(conn string, sa *vici.Message) gateways.Identity {
	id := gateways.Identity{ID: known(text(sa, "remote-id"))}
	if a, err := netip.ParseAddr(text(sa, "remote-host")); err == nil && !a.IsUnspecified() {
		id.Address = a
	}
	if conn != unnamed {
		// A connection for one peer is its name, one for any host is a group.
		id.Name, id.Group = conn, conn
	}
	id.Username = cmp.Or(known(text(sa, "remote-eap-id")), known(text(sa, "remote-xauth-id")))
	return id
}

func known(id string) string {
	if id == anyone {
		return ""
	}
	return id
}

// ikeState maps charon's ike_sa_state_names to classes. PASSIVE, an SA that another node of a
// cluster serves, has no class.
func ikeState(word string) gateways.IKEState {
	switch word {
	case "CREATED", "CONNECTING":
		return gateways.Connecting
	case "ESTABLISHED":
		return gateways.Established
	case "REKEYING":
		return gateways.IKERekeying
	case "REKEYED", "DELETING", "DESTROYING":
		return gateways.IKEClosing
	}
	return gateways.IKEUnknown
}

// phase finds the steps between phase 1 and phase 2 of IKEv1, which charon's states do not know:
//
//	                           state        tasks
//	server, asks               CONNECTING   active XAUTH
//	client, not asked          CONNECTING   queued QUICK_MODE MODE_CONFIG, none active
//	client, has answered       CONNECTING   passive XAUTH, queued the same
//	asks for an address        ESTABLISHED  active MODE_CONFIG
//
// A server that waits for the client to ask for its address shows only ESTABLISHED without a child.
// So does a server whose client is configured to have no address; the two cannot be distinguished.
func phase(s gateways.IKEState, sa *vici.Message, childUp bool) gateways.IKEState {
	active, passive, queued := words(sa, "tasks-active"), words(sa, "tasks-passive"), words(sa, "tasks-queued")
	switch {
	case s != gateways.Connecting && s != gateways.Established, childUp:
		return s
	case s == gateways.Connecting && (slices.Contains(active, "XAUTH") || slices.Contains(passive, "XAUTH")):
		return gateways.XAuth
	case slices.Contains(active, "MODE_CONFIG"):
		return gateways.ModeCfg
	case s == gateways.Connecting && len(active)+len(passive) == 0 && slices.Contains(queued, "MODE_CONFIG"):
		return gateways.XAuth
	}
	return s
}

// doing returns the tasks of a negotiation: they say which message waits for an answer.
func doing(sa *vici.Message) string {
	var s []string
	for _, queue := range []string{"active", "passive", "queued"} {
		if tasks := words(sa, "tasks-"+queue); len(tasks) > 0 {
			s = append(s, queue+": "+strings.Join(tasks, " "))
		}
	}
	return strings.Join(s, "; ")
}

func child(section string, peer gateways.Identity, c *vici.Message) gateways.ChildSA {
	out := gateways.ChildSA{
		Key: childKey(section, c), Peer: peer, Name: cmp.Or(text(c, "name"), section),
		State: childState(text(c, "state")), VendorState: text(c, "state"),
		In:  gateways.Traffic{Packets: count(c, "packets-in"), Bytes: count(c, "bytes-in")},
		Out: gateways.Traffic{Packets: count(c, "packets-out"), Bytes: count(c, "bytes-out")},
	}
	// A daemon that was restarted counts its SAs from 1 again; SPIs are random.
	if in, to := text(c, "spi-in"), text(c, "spi-out"); in != "" {
		out.CounterKey = in + " " + to
		out.NATT = gateways.AnswerOf(text(c, "encap") == "yes")
	}
	return out
}

// childKey is the same in tables and events: the first name the section "net-1", the second one
// "net", and SPIs are missing while there are none.
func childKey(section string, c *vici.Message) string {
	return cmp.Or(text(c, "uniqueid"), section)
}

// childState maps charon's child_sa_state_names to classes.
func childState(word string) gateways.ChildState {
	switch word {
	case "CREATED", "INSTALLING", "RETRYING":
		return gateways.Installing
	case "INSTALLED", "UPDATING":
		return gateways.Installed
	case "REKEYING":
		return gateways.ChildRekeying
	case "REKEYED", "DELETING", "DELETED", "DESTROYING":
		return gateways.ChildClosing
	}
	return gateways.ChildUnknown
}
