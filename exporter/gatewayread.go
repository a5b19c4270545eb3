package exporter

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/internal/netio"
)

// GatewayOptions are what the command line says to read.
type GatewayOptions struct {
	ConfigFile string
	// Name is that of a configured gateway.
	Name string
	// Record is the file for a transcript, if any.
	Record string
	// Output is text or json.
	Output         string
	Stdout, Stderr io.Writer
}

// ErrTunnelDown means that a tunnel which is expected at the gateway is not up.
var ErrTunnelDown = errors.New("a tunnel is down")

// errTunnelUnknown means that the gateway does not tell whether a tunnel which is expected at it is up.
var errTunnelUnknown = errors.New("does not tell whether all expected tunnels are up")

// ReadGateway reads the table of one gateway once and prints it. It returns ErrTunnelDown where an expected tunnel is not up.
func ReadGateway(ctx context.Context, o GatewayOptions) error {
	if o.Output != "text" && o.Output != "json" {
		return fmt.Errorf("--output=%s: there is text, json", o.Output)
	}
	if o.ConfigFile == "" {
		return errors.New("--config.file is missing: gateways are configured there")
	}
	cfg, err := config.ReadAny(o.ConfigFile, nil)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(cfg.Gateways, func(g config.Gateway) bool { return g.Name == o.Name })
	if i < 0 {
		return fmt.Errorf("no gateway %q in %s: there is %s", o.Name, o.ConfigFile, cmp.Or(strings.Join(gatewayNames(cfg), ", "), "none"))
	}
	for _, problem := range secretProblems(&config.Config{Gateways: cfg.Gateways[i : i+1]}) {
		fmt.Fprintf(o.Stderr, "warning: %s\n", problem)
	}
	beliefs, err := netio.NewBeliefs()
	if err == nil {
		defer beliefs.Close()
	} else if !cfg.Gateways[i].IsDevice() {
		fmt.Fprintf(o.Stderr, "warning: what this host's kernel believes about paths stays unknown: %v\n", err)
	}
	source, err := newSource(&cfg.Gateways[i], beliefs)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }() // it was read
	if o.Record != "" {
		if err := record(ctx, source, &cfg.Gateways[i], o.Record); err != nil {
			return err
		}
	}
	return printGateway(ctx, source, cfg, &cfg.Gateways[i], &o)
}

func gatewayNames(cfg *config.Config) []string {
	var names []string
	for i := range cfg.Gateways {
		names = append(names, cfg.Gateways[i].Name)
	}
	return names
}

// record writes what the gateway said. What it said is worth having also where it could not be understood.
func record(ctx context.Context, source gateways.Source, g *config.Gateway, file string) error {
	recorder, ok := source.(gateways.Recorder)
	if !ok {
		return fmt.Errorf("--record: a gateway of type %s has no transcript: it does not answer in text", g.Type)
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600) // before the device is asked
	if err != nil {
		return fmt.Errorf("--record: %w", err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(ctx, g.Timeout)
	defer cancel()
	transcript, failure := recorder.Record(ctx)
	_, err = transcript.WriteTo(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("--record: %w", err)
	}
	if failure != nil {
		return fmt.Errorf("gateway %s cannot be read: %w", g.Name, failure)
	}
	return nil
}

// printGateway reads and prints.
func printGateway(ctx context.Context, source gateways.Source, cfg *config.Config, g *config.Gateway, o *GatewayOptions) error {
	peers := gateways.NewAttribution(expectedPeers(cfg, whereabouts(ctx, nil, cfg, o.Stderr), g.Name))
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, g.Timeout)
	defer cancel()
	table, err := source.Read(ctx)
	if err != nil {
		return fmt.Errorf("gateway %s cannot be read: %w", g.Name, err)
	}
	view := viewOf(g.Name, &table, peers)
	view.Seconds = time.Since(began).Seconds()
	if o.Output == "json" {
		e := json.NewEncoder(o.Stdout)
		e.SetIndent("", "  ")
		err = e.Encode(view)
	} else {
		_, err = o.Stdout.Write(view.text())
	}
	if err != nil {
		return err
	}
	return view.outcome()
}

// outcome is the worst of the expected tunnels: down, then unknown.
func (v *gatewayView) outcome() error {
	is := func(up gateways.Answer) bool {
		return slices.ContainsFunc(v.Expected, func(e expectedView) bool { return e.Up == up.String() && !e.idle })
	}
	switch {
	case is(gateways.No):
		return ErrTunnelDown
	case is(gateways.Unknown):
		return fmt.Errorf("gateway %s %w", v.Gateway, errTunnelUnknown)
	}
	return nil
}

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
		Gateway: name, Type: printable(t.Info.Type), Version: printable(t.Info.Version), Unparsed: t.Unparsed,
		IKE: []ikeView{}, Children: []childView{}, Expected: []expectedView{},
	}
	for i := range t.IKE {
		sa := &t.IKE[i]
		one := ikeView{identityView: identityOf(sa.Peer, peers), Version: sa.Version, State: sa.State.String(), VendorState: printable(sa.VendorState)}
		if !sa.Established.IsZero() {
			at := sa.Established.UTC().Truncate(time.Second)
			one.Established = &at
		}
		v.IKE = append(v.IKE, one)
	}
	for i := range t.Children {
		sa := &t.Children[i]
		v.Children = append(v.Children, childView{
			identityView: identityOf(sa.Peer, peers), Name: printable(sa.Name), State: sa.State.String(),
			PacketsIn: counted(sa.In.Packets), PacketsOut: counted(sa.Out.Packets), BytesIn: counted(sa.In.Bytes), BytesOut: counted(sa.Out.Bytes),
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
	v := identityView{Remote: printable(id.String()), ID: printable(id.ID), Username: printable(id.Username), Group: printable(id.Group)}
	if p := peers.Find(id); p != nil {
		v.Peer = p.Name
	}
	return v
}

func counted(c gateways.Count) *uint64 {
	if !c.Known {
		return nil
	}
	return &c.Value
}

// printable keeps what a device says from doing anything to a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
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
		row("PEER", "REMOTE", "CHILD", "STATE", "PACKETS IN", "OUT", "BYTES IN", "OUT", "PATH MTU", "NAT-T")
	}
	for i := range v.Children {
		sa := &v.Children[i]
		mtu := ""
		if sa.PathMTU > 0 {
			mtu = strconv.Itoa(sa.PathMTU)
		}
		row(sa.Peer, sa.Remote, sa.Name, sa.State, number(sa.PacketsIn), number(sa.PacketsOut), number(sa.BytesIn), number(sa.BytesOut), mtu, sa.NATT)
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
