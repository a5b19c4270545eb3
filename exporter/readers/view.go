package readers

import (
	"bytes"
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/internal/untrusted"
)

// A gatewayView is the table of a gateway for those who look.
type gatewayView struct {
	Gateway  string         `json:"gateway"`
	Type     string         `json:"type"`
	Version  string         `json:"version"`
	Seconds  float64        `json:"read_seconds"`
	Unparsed int            `json:"unparsed_lines"`
	IKE      []ikeView      `json:"ike"`
	Children []childView    `json:"children"`
	Expected []expectedView `json:"expected"`
}

type identityView struct {
	Peer     string `json:"peer"` // empty where it belongs to none
	Remote   string `json:"remote"`
	ID       string `json:"id,omitempty"`
	Username string `json:"username,omitempty"`
	Group    string `json:"group,omitempty"`
}

type ikeView struct {
	identityView
	Version     int        `json:"version"` // 0 if unknown
	State       string     `json:"state"`
	VendorState string     `json:"vendor_state"`
	Established *time.Time `json:"established"`
}

type childView struct {
	identityView
	Name       string  `json:"name,omitempty"`
	State      string  `json:"state"`
	PacketsIn  *uint64 `json:"packets_in"`
	PacketsOut *uint64 `json:"packets_out"`
	Lost       *uint64 `json:"packets_lost"`
	BytesIn    *uint64 `json:"bytes_in"`
	BytesOut   *uint64 `json:"bytes_out"`
	PathMTU    int     `json:"path_mtu_bytes"` // 0 if unknown
	NATT       string  `json:"natt"`
}

type expectedView struct {
	Peer string `json:"peer"`
	Up   string `json:"up"`
	idle bool   // without any SA, and that is no fault
}

func viewOf(name string, t *gateways.Table, peers *gateways.Attribution) *gatewayView {
	v := &gatewayView{
		Gateway: name, Type: untrusted.Printable(t.Info.Type), Version: untrusted.Printable(t.Info.Version), Unparsed: t.Unparsed,
		IKE: []ikeView{}, Children: []childView{}, Expected: []expectedView{},
	}
	for i := range t.IKE {
		sa := &t.IKE[i]
		one := ikeView{identityView: identityOf(sa.Peer, peers), Version: sa.Version, State: sa.State.String(), VendorState: untrusted.Printable(sa.VendorState)}
		if !sa.Established.IsZero() {
			at := sa.Established.UTC().Truncate(time.Second)
			one.Established = &at
		}
		v.IKE = append(v.IKE, one)
	}
	for i := range t.Children {
		sa := &t.Children[i]
		v.Children = append(v.Children, childView{
			identityView: identityOf(sa.Peer, peers), Name: untrusted.Printable(sa.Name), State: sa.State.String(),
			PacketsIn: sa.In.Packets.Pointer(), PacketsOut: sa.Out.Packets.Pointer(), Lost: sa.Lost.Pointer(), BytesIn: sa.In.Bytes.Pointer(), BytesOut: sa.Out.Bytes.Pointer(),
			PathMTU: sa.PathMTU, NATT: sa.NATT.String(),
		})
	}
	reading := gateways.NewReading(t, peers, false)
	for i := range reading.Peers {
		if p := &reading.Peers[i]; p.Of != nil && p.Of.Expected {
			v.Expected = append(v.Expected, expectedView{p.Peer, p.Up.String(), p.Of.OnDemand && p.IKESAs+p.ChildSAs == 0})
		}
	}
	return v
}

func identityOf(id gateways.Identity, peers *gateways.Attribution) identityView {
	v := identityView{Remote: untrusted.Printable(id.String()), ID: untrusted.Printable(id.ID), Username: untrusted.Printable(id.Username), Group: untrusted.Printable(id.Group)}
	if p := peers.Find(id); p != nil {
		v.Peer = p.Name
	}
	return v
}

// text is the table for a terminal.
func (v *gatewayView) text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s (%s): %d IKE SAs, %d child SAs, read in %.1f s\n", v.Gateway, strings.TrimSpace(v.Type+" "+v.Version), len(v.IKE), len(v.Children), v.Seconds)
	if v.Unparsed > 0 {
		fmt.Fprintf(&b, "%d lines were not understood\n", v.Unparsed)
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(cells ...string) {
		for i, c := range cells {
			cells[i] = cmp.Or(c, "-")
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	if len(v.IKE) > 0 {
		fmt.Fprintln(w)
		row("PEER", "REMOTE", "IKE", "STATE", "VENDOR STATE", "ESTABLISHED", "ID", "USER", "GROUP")
	}
	for i := range v.IKE {
		sa := &v.IKE[i]
		version, since := "", ""
		if sa.Version > 0 {
			version = "v" + strconv.Itoa(sa.Version)
		}
		if sa.Established != nil {
			since = sa.Established.Format(time.RFC3339)
		}
		row(sa.Peer, sa.Remote, version, sa.State, sa.VendorState, since, sa.ID, sa.Username, sa.Group)
	}
	_ = w.Flush() // into memory
	if len(v.Children) > 0 {
		fmt.Fprintln(w)
		row("PEER", "REMOTE", "CHILD", "STATE", "PACKETS IN", "OUT", "LOST", "BYTES IN", "OUT", "PATH MTU", "NAT-T")
	}
	for i := range v.Children {
		sa := &v.Children[i]
		mtu := ""
		if sa.PathMTU > 0 {
			mtu = strconv.Itoa(sa.PathMTU)
		}
		row(sa.Peer, sa.Remote, sa.Name, sa.State, number(sa.PacketsIn), number(sa.PacketsOut), number(sa.Lost), number(sa.BytesIn), number(sa.BytesOut), mtu, sa.NATT)
	}
	_ = w.Flush() // into memory
	if len(v.Expected) > 0 {
		fmt.Fprintln(w)
		row("EXPECTED", "UP")
	}
	for _, e := range v.Expected {
		up := e.Up
		if e.idle {
			up += " (idle, on demand)"
		}
		row(e.Peer, up)
	}
	_ = w.Flush() // into memory
	return b.Bytes()
}

func number(n *uint64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatUint(*n, 10)
}
