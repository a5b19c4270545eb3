package capture

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ipsec_path_exporter/internal/wire/ip"
)

// An Analysis is the result for one capture.
type Analysis struct {
	// Name is the file, or the address that the capture came from, Links the kinds of its links.
	Name  string   `json:"name"`
	Links []string `json:"links"`
	// Frames counts everything, Related what has to do with a VPN.
	Frames  int       `json:"frames"`
	Related int       `json:"related"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	// Cut counts related packets of which less was captured than their IP header says.
	Cut int `json:"truncated_packets"`
	// Tunnels are the encapsulations that packets were found in.
	Tunnels []string `json:"tunnels,omitempty"`
	// Unread counts the frames of links that are not supported, by name.
	Unread map[string]int `json:"unsupported_frames,omitempty"`
	// Doubled counts copies of packets, which count nowhere else. Shifted counts frames with a time
	// beyond the year 9999.
	Doubled int `json:"doubled_frames"`
	Shifted int `json:"frames_with_impossible_time,omitempty"`
	// Unreadable counts frames with an unreadable IP header, NotIP frames without one.
	Unreadable int `json:"unreadable_frames"`
	NotIP      int `json:"not_ip_frames"`
	// Oversized counts related packets above 1500 bytes, which no ordinary link carries.
	Oversized int `json:"oversized_packets"`
	// LaterFragments counts fragments other than the first. Without any, the capture's filter may
	// not let them through.
	LaterFragments int `json:"later_fragments"`
	// Damage says where the file cannot be read on, empty if it is whole.
	Damage string `json:"damage,omitempty"`
	// Forgotten counts what there was no room to remember, per table.
	Forgotten map[string]int `json:"not_kept,omitempty"`
	// Pairs are the pairs of addresses that talk, Negotiations what IKE did between them.
	Pairs        []*Pair        `json:"pairs"`
	Negotiations []*Negotiation `json:"negotiations"`
	Findings     []Finding      `json:"findings"`

	protocols [256]int // packets of each protocol
	// records are for the comparison with another capture; complete is until when there are all.
	records  []record
	recorded [classes]int
	complete [classes]time.Time
}

// maxUnread bounds the kinds of links that are counted apart.
const maxUnread = 16

func (a *Analysis) countUnread(link string) {
	if a.Unread == nil {
		a.Unread = make(map[string]int)
	}
	if _, is := a.Unread[link]; !is && len(a.Unread) == maxUnread {
		link = "other link types"
	}
	a.Unread[link]++
}

// unread is the number of frames of links that are not supported.
func (a *Analysis) unread() (n int) {
	for _, frames := range a.Unread {
		n += frames
	}
	return n
}

func (a *Analysis) unreadLinks() string {
	return strings.Join(slices.Sorted(maps.Keys(a.Unread)), " and ")
}

// empty is why a capture shows no packet of a VPN, empty if it shows one.
func (a *Analysis) empty() string {
	ipPackets := a.Frames - a.unread() - a.NotIP - a.Unreadable - a.Doubled
	switch {
	case a.Related > 0:
		return ""
	case a.Frames == 0:
		return "it has no frame"
	}
	var parts []string
	for _, part := range []struct {
		n    int
		text string
	}{
		{a.unread(), "of " + a.unreadLinks() + ", which cannot be read"},
		{a.NotIP, "without an IP packet"},
		{a.Unreadable, "with an unreadable IP header"},
		{ipPackets, "with IP packets of other protocols (" + a.otherProtocols() + ")"},
	} {
		if part.n > 0 {
			parts = append(parts, counted(part.n, "frame")+" "+part.text)
		}
	}
	return strings.Join(parts, ", ")
}

// otherProtocols counts the packets by protocol.
func (a *Analysis) otherProtocols() string {
	var parts []string
	for protocol, n := range a.protocols {
		if n == 0 {
			continue
		}
		name := map[int]string{
			ip.ProtocolICMP: "ICMP", ip.ProtocolICMPv6: "ICMPv6", ip.ProtocolTCP: "TCP", ip.ProtocolUDP: "UDP", ip.ProtocolGRE: "GRE",
		}[protocol]
		parts = append(parts, fmt.Sprintf("%s: %d", cmp.Or(name, fmt.Sprintf("protocol %d", protocol)), n))
	}
	return strings.Join(parts, ", ")
}

// A Finding is a conclusion.
type Finding struct {
	// Name is that of the exporter's diagnosis if there is one. Without Fault it is a remark.
	Name  string `json:"name"`
	Fault bool   `json:"fault"`
	// Src and Dst are the direction that it is about.
	Src netip.Addr `json:"src"`
	Dst netip.Addr `json:"dst"`
	// Summary is one sentence, Evidence the packets or counts that support it.
	Summary  string   `json:"summary"`
	Evidence []string `json:"evidence"`
	// Advice is a remedy other than repairing the path.
	Advice string `json:"advice,omitempty"`
}

// A Pair is two addresses with what went between them.
type Pair struct {
	// A was seen sending first.
	A       netip.Addr `json:"a"`
	B       netip.Addr `json:"b"`
	Forward Direction  `json:"a_to_b"`
	Back    Direction  `json:"b_to_a"`
}

// direction returns what went from one address, and what came back.
func (p *Pair) direction(src netip.Addr) (there, back *Direction) {
	if src == p.A {
		return &p.Forward, &p.Back
	}
	return &p.Back, &p.Forward
}

// A Direction is what went one way between two addresses. A packet is counted once, however many IP
// fragments it was sent in, and where its first fragment is.
type Direction struct {
	IKE        int `json:"ike_udp500"`
	NATT       int `json:"ike_udp4500"`
	ESP        int `json:"esp"`
	ESPinUDP   int `json:"esp_in_udp"`
	AH         int `json:"ah"`
	ESPinAH    int `json:"esp_in_ah"`
	WESP       int `json:"wesp"`
	TCP        int `json:"over_tcp"`
	Keepalives int `json:"nat_keepalives"`
	Other      int `json:"other"`
	// Messages counts IKE messages without retransmissions, in any number of packets.
	Messages        int `json:"ike_messages"`
	Retransmissions int `json:"ike_retransmissions"`
	IKEFragments    int `json:"ike_own_fragments"`
	// FirstFragments and LaterFragments are IP packets.
	FirstFragments int `json:"first_fragments"`
	LaterFragments int `json:"later_fragments"`
	// Whole, Incomplete, Headless and Undecided count the fragmented datagrams: all fragments
	// arrived, some after the first did not, the first did not, the capture ended too early to say.
	Whole      int          `json:"fragmented_whole"`
	Incomplete int          `json:"fragmented_incomplete"`
	Headless   int          `json:"fragmented_without_first"`
	Undecided  int          `json:"fragmented_undecided"`
	SPIs       []*SPI       `json:"spis,omitempty"`
	Errors     []*ICMPError `json:"icmp_errors,omitempty"`

	largest int              // packet
	traced  bool             // a packet had a TTL below tracedTTL
	last    [kinds]time.Time // when each kind was last seen
	// incomplete, headless and wholes are the newest few fragmented datagrams of each fate.
	incomplete, headless, wholes []*datagram
	// unanswered counts ESP and AH packets since the last one in the other direction.
	unanswered      int
	unansweredSince time.Time
	// ptb is the smallest size that a "packet too big" about this direction named, from ptbAt on;
	// oversized counts larger packets after it.
	ptb       int
	ptbAt     time.Time
	oversized []*datagram
	ignored   int
}

// An SPI is one security association, as far as it was seen: SPIs belong to one direction.
type SPI struct {
	SPI      string    `json:"spi"`
	Protocol string    `json:"protocol"`
	Packets  int       `json:"packets"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	FirstSeq uint32    `json:"first_sequence"`
	LastSeq  uint32    `json:"last_sequence"`

	spi  uint32
	kind kind
}

// An ICMPError is a kind of ICMP error about packets of one direction.
type ICMPError struct {
	Name string     `json:"name"`
	Type uint8      `json:"type"`
	Code uint8      `json:"code"`
	From netip.Addr `json:"from"`
	// MTU is what a "packet too big" names.
	MTU int `json:"mtu,omitempty"`
	// About is the kind of the packet that it quotes, SPI that of a quoted ESP or AH packet.
	About string    `json:"about"`
	SPI   string    `json:"spi,omitempty"`
	Count int       `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`

	kind   kind
	quotes []quote // the datagrams that the first few were about
}
