// Package report holds what one measurement of one peer found, and writes it for people and programs: as text for a terminal, as
// Markdown for a ticket at the provider, as JSON.
//
//	results ──▶ Report ──Conclude──▶ + advice, what is unknown, ──▶ WriteText, WriteMarkdown, WriteJSON
//	                                   comparison of ways out
//
// The JSON form is an interface: names are added, never changed or removed. The words of a fault are written for the provider's
// engineer: what was sent, what came back, what that shows and what it does not, what to change, and how to see it by hand.
//
// Nothing here measures, judges, or looks at a clock: diagnoses come from package diagnosis.
package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// A Report is what one measurement of one peer found, over one way out.
type Report struct {
	Peer    string `json:"peer"`
	Address string `json:"address"`
	Family  string `json:"family"`
	// Via is the way out that was asked for: an interface or a source address. Empty where routing chose.
	Via string `json:"via"`
	// Source is the address that packets were sent from, Interface the device they left by, as far as this host knows.
	Source    string      `json:"source,omitempty"`
	Interface string      `json:"interface,omitempty"`
	Started   time.Time   `json:"started"`
	Seconds   float64     `json:"seconds"`
	Healthy   bool        `json:"healthy"`
	Diagnoses []Diagnosis `json:"diagnoses"`
	ICMP      *ICMP       `json:"icmp,omitempty"`
	MTU       []MTU       `json:"mtu,omitempty"`
	IKE       []IKE       `json:"ike,omitempty"`
	Protocols []Protocol  `json:"protocols,omitempty"`
	Reverse   *Reverse    `json:"reverse,omitempty"`
	// Hops are the routers on the way, as far as they were seen.
	Hops   []Hop   `json:"hops,omitempty"`
	Tunnel *Tunnel `json:"tunnel,omitempty"`
	// Gateways are what the SA tables of gateways show about the peer.
	Gateways []Gateway `json:"gateways,omitempty"`
	History  *History  `json:"history,omitempty"`
	// Comparison is what the same measurement over several ways out shows, one sentence. Conclude writes it.
	Comparison string `json:"comparison,omitempty"`
	// Advice is what follows from the diagnoses. Conclude writes it.
	Advice []Advice `json:"advice,omitempty"`
	// Unknown is what could not be told. Conclude completes it.
	Unknown []Unknown `json:"unknown,omitempty"`
	// Errors are what could not be measured, and why.
	Errors []string `json:"errors,omitempty"`
	// Measured tells whether enough is known to call the peer healthy or faulty.
	Measured bool `json:"-"`
}

// A Diagnosis is a named conclusion, with the measurements that show it.
type Diagnosis struct {
	Name     string   `json:"name"`
	Gateway  string   `json:"gateway,omitempty"`
	Summary  string   `json:"summary"`
	Evidence []string `json:"evidence"`
}

// ICMP is what became of echo requests.
type ICMP struct {
	// State is reachable, silent or unknown.
	State     string   `json:"state"`
	Reason    string   `json:"reason,omitempty"`
	Sent      int      `json:"sent"`
	Received  int      `json:"received"`
	RoundTrip *float64 `json:"round_trip_seconds"`
	Error     string   `json:"error,omitempty"`
	ErrorFrom string   `json:"error_from,omitempty"`
}

// MTU is the path MTU as found by one method. Sizes are those of IP packets, header included.
type MTU struct {
	Method string `json:"method"`
	// State is clean, reduced, black_hole, unreachable or inconclusive.
	State       string  `json:"state"`
	Reason      string  `json:"reason,omitempty"`
	Bytes       int     `json:"bytes"`
	LinkBytes   int     `json:"link_bytes"`
	Packets     int     `json:"packets"`
	Seconds     float64 `json:"seconds"`
	PTBReceived int     `json:"ptb_received"`
	PTBRejected int     `json:"ptb_rejected"`
	PTBFrom     string  `json:"ptb_from,omitempty"`
	PTBMTU      int     `json:"ptb_mtu,omitempty"`
	// LastHopPassed and FirstHopFailed are the routers between which larger packets vanish.
	LastHopPassed  string `json:"last_hop_passed,omitempty"`
	FirstHopFailed string `json:"first_hop_failed,omitempty"`
}

// IKE is whether IKE is answered by one method.
type IKE struct {
	Method string `json:"method"`
	Port   uint16 `json:"port"`
	// State is responding, silent, refused or unknown.
	State     string   `json:"state"`
	Reason    string   `json:"reason,omitempty"`
	Version   int      `json:"version,omitempty"`
	Probe     string   `json:"probe,omitempty"`
	Reply     string   `json:"reply,omitempty"`
	RoundTrip *float64 `json:"round_trip_seconds"`
	Error     string   `json:"error,omitempty"`
	ErrorFrom string   `json:"error_from,omitempty"`
	// Fragments tells whether an IKE message in IP fragments is answered: pass, dropped or unknown. Empty if that was not tested.
	Fragments       string `json:"fragments,omitempty"`
	FragmentsReason string `json:"fragments_reason,omitempty"`
}

// A Protocol is how far packets of one kind get.
type Protocol struct {
	// Protocol is icmp, udp500, udp4500, esp, ah or esp_udp (ESP in UDP 4500).
	Protocol string `json:"protocol"`
	// State is passes, blocked or unknown.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	// LastHop is the distance of the last router that was seen to get one, Hops that of the peer; 0 where it is not known.
	LastHop int `json:"last_hop,omitempty"`
	Hops    int `json:"hops,omitempty"`
	// BlockedBy is who said that it does not let them pass.
	BlockedBy string `json:"blocked_by,omitempty"`
}

// Reverse is what is known about the size of packets on the way back.
type Reverse struct {
	// State is clean, reduced, black_hole or unknown.
	State string `json:"state"`
	// LowerBytes is a size that came back, UpperBytes the most that can; 0 where it is not known.
	LowerBytes int    `json:"lower_bytes,omitempty"`
	UpperBytes int    `json:"upper_bytes,omitempty"`
	Reason     string `json:"reason,omitempty"`
}

// A Hop is a router on the way, as it called itself.
type Hop struct {
	TTL     int    `json:"ttl"`
	Address string `json:"address"`
}

// Text is the hop for people: its distance, and its address if it answered.
func (h Hop) Text() string { return fmt.Sprintf("%d %s", h.TTL, cmp.Or(h.Address, "silent")) }

// Before are the sentences about how the path was when it was well.
func (r *Report) Before() []string {
	if r.History == nil {
		return nil
	}
	return r.History.Baseline
}

// A Tunnel is what an ESP tunnel over the measured path should be set to. It is computed, not measured.
type Tunnel struct {
	MTUBytes int    `json:"mtu_bytes"`
	MSSBytes int    `json:"mss_bytes"`
	Cipher   string `json:"cipher"`
	// Encapsulation is udp or none.
	Encapsulation string `json:"encapsulation"`
}

// History is what is remembered of earlier measurements, a sentence a line.
type History struct {
	// Baseline is how the path was when it was well.
	Baseline []string `json:"baseline,omitempty"`
	// Changes are what changed since, the newest last.
	Changes []string `json:"changes,omitempty"`
}

// Unknown is something that could not be told, and why.
type Unknown struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// WriteJSON writes reports in their documented form.
func WriteJSON(w io.Writer, reports []*Report) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(reports)
}
