package exporter

import (
	"encoding/json"
	"io"
	"net/netip"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/exporter/diagnosis"
)

// A report is what one check of one peer found. Its JSON form is an interface: names are added, never changed.
type report struct {
	Peer      string            `json:"peer"`
	Address   string            `json:"address"`
	Family    string            `json:"family"`
	Via       string            `json:"via"`
	Started   time.Time         `json:"started"`
	Seconds   float64           `json:"seconds"`
	Healthy   bool              `json:"healthy"`
	Diagnoses []reportDiagnosis `json:"diagnoses"`
	ICMP      *reportICMP       `json:"icmp,omitempty"`
	MTU       []reportMTU       `json:"mtu,omitempty"`
	IKE       []reportIKE       `json:"ike,omitempty"`
	Tunnel    *tunnel           `json:"tunnel,omitempty"`
	// Errors are what could not be measured, and why.
	Errors []string `json:"errors,omitempty"`
	// measured tells whether anything is known at all.
	measured bool
}

type reportDiagnosis struct {
	Name     string   `json:"name"`
	Summary  string   `json:"summary"`
	Evidence []string `json:"evidence"`
}

type reportICMP struct {
	State     string   `json:"state"`
	Reason    string   `json:"reason,omitempty"`
	Sent      int      `json:"sent"`
	Received  int      `json:"received"`
	RoundTrip *float64 `json:"round_trip_seconds"`
	Error     string   `json:"error,omitempty"`
	ErrorFrom string   `json:"error_from,omitempty"`
}

type reportMTU struct {
	Method      string  `json:"method"`
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
}

type reportIKE struct {
	Method    string   `json:"method"`
	Port      uint16   `json:"port"`
	State     string   `json:"state"`
	Reason    string   `json:"reason,omitempty"`
	Version   int      `json:"version,omitempty"`
	Probe     string   `json:"probe,omitempty"`
	Reply     string   `json:"reply,omitempty"`
	RoundTrip *float64 `json:"round_trip_seconds"`
	Error     string   `json:"error,omitempty"`
	ErrorFrom string   `json:"error_from,omitempty"`
}

// seconds is a duration as the JSON form has it, null if there is none.
func seconds(d time.Duration) *float64 {
	if d <= 0 {
		return nil
	}
	s := d.Seconds()
	return &s
}

// address is empty for the zero Addr.
func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func reportOfICMP(r *icmp.Result) *reportICMP {
	out := &reportICMP{State: r.State.String(), Sent: r.Sent, Received: r.Received, RoundTrip: seconds(r.Avg)}
	if r.State == icmp.Unknown {
		out.Reason = r.Reason
	}
	if r.Error.Outcome != 0 {
		out.Error, out.ErrorFrom = errorName(r.Error.From, r.Error.Type, r.Error.Code), address(r.Error.From)
	}
	return out
}

func reportOfIKE(m collectors.Method, r *ike.Result) reportIKE {
	out := reportIKE{Method: m.String(), Port: r.Port, State: r.State.String(), Reason: r.Reason}
	if r.State == ike.Responding {
		out.Version, out.Probe, out.Reply, out.RoundTrip = int(r.Version), r.Form.String(), r.Reply, seconds(r.RoundTrip)
	}
	if r.Error.Outcome != 0 {
		out.Error, out.ErrorFrom = errorName(r.Error.From, r.Error.Type, r.Error.Code), address(r.Error.From)
	}
	return out
}

func reportOfMTU(r *pmtu.Result) reportMTU {
	return reportMTU{
		Method: r.Method.String(), State: r.State.String(), Reason: r.Reason, Bytes: r.Bytes, LinkBytes: r.LinkBytes,
		Packets: r.Packets, Seconds: r.Duration.Seconds(), PTBReceived: r.PTBReceived, PTBRejected: r.PTBRejected,
		PTBFrom: address(r.PTBFrom), PTBMTU: r.PTBMTU,
	}
}

func reportOfDiagnoses(all []diagnosis.Held) []reportDiagnosis {
	out := make([]reportDiagnosis, 0, len(all))
	for _, d := range all {
		out = append(out, reportDiagnosis{Name: d.Name, Summary: d.Summary, Evidence: d.Evidence})
	}
	return out
}

// writeJSON prints reports in their documented form.
func writeJSON(w io.Writer, reports []*report) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(reports)
}
