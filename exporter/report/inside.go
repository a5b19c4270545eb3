package report

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	within "ipsec_path_exporter/collectors/inside"
	"ipsec_path_exporter/collectors/pmtu/search"
)

// insideTunnel is about the addresses behind the tunnel.
func insideTunnel(r *Report) (out []entry) {
	if r.Inside == nil {
		return nil
	}
	for i := range r.Inside.Results {
		of := &r.Inside.Results[i]
		e := entry{
			label: "inside, " + of.Target.Address.String(), text: insideText(of), row: "inside, " + of.Target.Address.String(), cell: insideText(of), at: of.At,
			test: "inside the tunnel, " + of.Target.Address.String(), sent: insideSent(of), received: insideText(of), shows: insideShows(of),
		}
		switch {
		case of.Answered == 0:
			e.unknown, e.why = "the path MTU inside the tunnel to "+of.Target.Address.String(), "echo is not answered there"
		case !of.Size.State.Conclusive():
			e.unknown, e.why = "the path MTU inside the tunnel to "+of.Target.Address.String(), of.Size.Reason
		}
		out = append(out, e)
	}
	return out
}

func insideSent(r *within.Result) string {
	sent := fmt.Sprintf("%d echo requests and a search", r.Sent)
	if r.Answered == 0 {
		sent = fmt.Sprintf("%d echo requests", r.Sent)
	}
	if r.Target.Port > 0 {
		sent += fmt.Sprintf(", a request for TCP port %d", r.Target.Port)
	}
	return sent
}

// insideText is what is known of a target in one line.
func insideText(r *within.Result) string {
	parts := []string{fmt.Sprintf("%d of %d echoes answered%s", r.Answered, r.Sent, milliseconds(r.RoundTrip))}
	switch r.Size.State {
	case search.Clean:
		parts = append(parts, fmt.Sprintf("%d bytes pass, the most that this host sends", r.Size.Bytes))
	case search.Reduced:
		parts = append(parts, fmt.Sprintf("%d bytes pass, packet too big reports the limit", r.Size.Bytes))
	case search.BlackHole:
		parts = append(parts, fmt.Sprintf("%d bytes pass, larger ones vanish", r.Size.Bytes))
	case search.Unknown, search.Unreachable, search.Inconclusive:
	}
	switch r.TCP {
	case within.TCPAnswered:
		parts = append(parts, fmt.Sprintf("TCP MSS %d", r.MSS))
	case within.TCPRefused:
		parts = append(parts, fmt.Sprintf("TCP port %d is closed", r.Target.Port))
	case within.TCPSilent:
		parts = append(parts, fmt.Sprintf("TCP port %d does not answer", r.Target.Port))
	case within.TCPUnknown:
	}
	return strings.Join(parts, "; ")
}

func insideShows(r *within.Result) string {
	switch {
	case !r.Reached():
		return "nothing comes back from there"
	case r.Vanishes() && r.Segment() > r.Size.Bytes:
		return fmt.Sprintf("TCP stalls: segments of MSS %d do not fit into %d bytes", r.MSS, r.Size.Bytes)
	case r.Vanishes():
		return fmt.Sprintf("packets above %d bytes vanish inside the tunnel", r.Size.Bytes)
	}
	return "the tunnel carries traffic"
}

// jsonInside is what was found out about an address behind the tunnel.
type jsonInside struct {
	Target    string   `json:"target"`
	Sent      int      `json:"sent"`
	Received  int      `json:"received"`
	RoundTrip *float64 `json:"round_trip_seconds"`
	// State is as that of a path MTU search, unknown while echo is not answered.
	State    string `json:"mtu_state"`
	MTUBytes int    `json:"mtu_bytes,omitempty"`
	// TCP is answered, refused, silent, or unknown without a port.
	TCP      string    `json:"tcp"`
	MSSBytes int       `json:"mss_bytes,omitempty"`
	Measured time.Time `json:"measured"`
}

func jsonOfInside(r *within.Result) jsonInside {
	return jsonInside{
		Target: r.Target.Address.String(), Sent: r.Sent, Received: r.Answered, RoundTrip: seconds(r.RoundTrip), State: r.Size.State.String(),
		MTUBytes: r.Size.Bytes, TCP: r.TCP.String(), MSSBytes: r.MSS, Measured: r.At.UTC().Truncate(time.Second),
	}
}

// insideResults are the results about all targets.
func (r *Report) insideResults() []within.Result { return cmp.Or(r.Inside, &within.Results{}).Results }

// An InsideFault is what does not fit into the tunnel.
type InsideFault struct {
	// Bytes is the largest packet that passes, MSS the most that a segment may hold.
	Bytes, MSS int
	// Seen is the MSS that TCP uses, 0 if unknown.
	Seen int
}

// InsideFault is the target to which the smallest packets vanish, nil if there is none.
func (r *Report) InsideFault() (fault *InsideFault) {
	all := r.insideResults()
	for i := range all {
		if of := &all[i]; of.Vanishes() && (fault == nil || of.Size.Bytes < fault.Bytes) {
			fault = &InsideFault{of.Size.Bytes, of.Size.Bytes - of.Header(), of.MSS}
		}
	}
	return fault
}

// InsideTargets are the addresses behind the tunnel.
func (r *Report) InsideTargets() string {
	all := r.insideResults()
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].Target.Address.String()
	}
	return cmp.Or(strings.Join(names, ", "), "the targets")
}
