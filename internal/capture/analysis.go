package capture

import (
	"net/netip"
	"time"
)

// An Analysis is what one capture tells.
type Analysis struct {
	// Name is what the capture is called: a file, or the address it came from.
	Name string `json:"name"`
	// Links are the kinds of links that it was taken on.
	Links []string `json:"links"`
	// Frames counts everything, Related what has to do with a VPN.
	Frames  int `json:"frames"`
	Related int `json:"related"`
	// First and Last are when it begins and ends.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// Cut counts related packets of which less was captured than their IP header says; nothing of them is taken for lost.
	Cut int `json:"truncated_packets"`
	// Unreadable counts frames whose IP header cannot be read, NotIP those without one.
	Unreadable int `json:"unreadable_frames"`
	NotIP      int `json:"not_ip_frames"`
	// Oversized counts related packets above 1500 bytes, which no ordinary link carries.
	Oversized int `json:"oversized_packets"`
	// LaterFragments counts fragments other than the first, of any datagram. Without any, the capture's filter may not let them through.
	LaterFragments int `json:"later_fragments"`
	// Damage says where the file cannot be read on, empty if it is whole.
	Damage string `json:"damage,omitempty"`
	// Forgotten counts what there was no room to remember, per table.
	Forgotten map[string]int `json:"not_kept,omitempty"`
	// Pairs are the pairs of addresses that talk, Negotiations what IKE did between them.
	Pairs        []*Pair        `json:"pairs"`
	Negotiations []*Negotiation `json:"negotiations"`
	// Findings are the conclusions.
	Findings []Finding `json:"findings"`

	// records are for the comparison with another capture, recorded counts them and complete is until when there are all, for signalling and for traffic.
	records  []record
	recorded [classes]int
	complete [classes]time.Time
}

// A Finding is a conclusion.
type Finding struct {
	// Name is the kind of the conclusion; it is that of a diagnosis of the exporter where there is one.
	Name string `json:"name"`
	// Fault tells a fault from a remark.
	Fault bool `json:"fault"`
	// Src and Dst are the direction that it is about.
	Src netip.Addr `json:"src"`
	Dst netip.Addr `json:"dst"`
	// Summary is one sentence, Evidence what it rests on.
	Summary  string   `json:"summary"`
	Evidence []string `json:"evidence"`
	// Advice is what helps besides mending the path.
	Advice string `json:"advice,omitempty"`
}

// A Pair is two addresses with what went between them.
type Pair struct {
	// A is the one that was seen sending first.
	A netip.Addr `json:"a"`
	B netip.Addr `json:"b"`
	// Forward is from A to B, Back from B to A.
	Forward Direction `json:"a_to_b"`
	Back    Direction `json:"b_to_a"`
}

// direction returns what went from one address, and what came back.
func (p *Pair) direction(src netip.Addr) (there, back *Direction) {
	if src == p.A {
		return &p.Forward, &p.Back
	}
	return &p.Back, &p.Forward
}

// A Direction is what went one way between two addresses. Messages and packets are counted once, however many fragments they were sent in, and
// where their first fragment is.
type Direction struct {
	IKE             int `json:"ike_udp500"`
	NATT            int `json:"ike_udp4500"`
	ESP             int `json:"esp"`
	ESPinUDP        int `json:"esp_in_udp"`
	AH              int `json:"ah"`
	Keepalives      int `json:"nat_keepalives"`
	Other           int `json:"other"`
	Retransmissions int `json:"ike_retransmissions"`
	IKEFragments    int `json:"ike_own_fragments"`
	// FirstFragments and LaterFragments are IP packets.
	FirstFragments int `json:"first_fragments"`
	LaterFragments int `json:"later_fragments"`
	// Whole, Incomplete, Headless and Undecided are the fragmented datagrams: all fragments came, some after the first did not, the first did not,
	// the capture ended too early to tell.
	Whole      int          `json:"fragmented_whole"`
	Incomplete int          `json:"fragmented_incomplete"`
	Headless   int          `json:"fragmented_without_first"`
	Undecided  int          `json:"fragmented_undecided"`
	SPIs       []*SPI       `json:"spis,omitempty"`
	Errors     []*ICMPError `json:"icmp_errors,omitempty"`

	// largest is the largest packet.
	largest int
	// last is when each kind was last seen.
	last [kinds]time.Time
	// incomplete, headless and whole are fragmented datagrams of each fate, the newest few.
	incomplete, headless, wholes []*datagram
	// unanswered counts ESP packets since the last one of the other direction, from unansweredSince on.
	unanswered      int
	unansweredSince time.Time
	// ptb is the smallest size that a "packet too big" about this direction named, from ptbAt on; oversized counts what was sent
	// above it all the same.
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
	// Name is the kind, Type and Code are how ICMP says it.
	Name string `json:"name"`
	Type uint8  `json:"type"`
	Code uint8  `json:"code"`
	// From is who sent it.
	From netip.Addr `json:"from"`
	// MTU is what a "packet too big" names.
	MTU int `json:"mtu,omitempty"`
	// About is the kind of the packet that it quotes, SPI that of a quoted ESP or AH packet.
	About string `json:"about"`
	SPI   string `json:"spi,omitempty"`
	// Count is how often it came.
	Count int       `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`

	kind kind
	// quotes are the datagrams that the first few were about.
	quotes []quote
}
