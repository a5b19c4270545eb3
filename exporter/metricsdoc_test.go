package exporter

import (
	"cmp"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/flows"
	"ipsec_path_exporter/collectors/fragments"
	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/collectors/inside"
	"ipsec_path_exporter/collectors/partner"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/collectors/protocols"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/diagnosis"
	"ipsec_path_exporter/exporter/probe"
	"ipsec_path_exporter/exporter/subject"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/session"
	wire "ipsec_path_exporter/internal/wire/icmp"
)

// metricsDoc is the page that is generated where it lies between markers, and written by hand
// elsewhere.
const metricsDoc = "../docs/metrics.md"

var updateDoc = flag.Bool("update", false, "write docs/metrics.md")

// A documented family is one row of the page.
type documented struct {
	name, kind, help string
	labels           []string
}

// peerFamilies are all families about a peer.
func peerFamilies() []documented {
	var rows []documented
	families := slices.Concat(Families(), icmp.Families(), ike.Families(), pmtu.Families(), fragments.Families(), flows.Families(),
		inside.Families(), partner.Families(), protocols.Families(), diagnosis.Families())
	for _, f := range families {
		kind := map[collectors.Kind]string{
			collectors.Gauge: "gauge", collectors.Counter: "counter", collectors.Histogram: "histogram",
		}[f.Kind]
		rows = append(rows, documented{f.Name, kind, f.Help, append([]string{"peer"}, f.AllLabels()...)})
	}
	return rows
}

// gatewayFamilies are all families about gateways and their SAs.
func gatewayFamilies() []documented {
	var rows []documented
	for _, f := range gateways.Families() {
		kind := map[collectors.Kind]string{collectors.Gauge: "gauge", collectors.Counter: "counter"}[f.Kind]
		rows = append(rows, documented{f.Name, kind, f.Help, f.Labels})
	}
	return rows
}

// idleApp is a program that has opened its sockets, as far as this process may, and sends nothing.
func idleApp(tb testing.TB, log *slog.Logger) *app {
	tb.Helper()
	return idleAppWith(tb, log, icmp.BothBuckets)
}

// idleAppWith is idleApp with other histograms.
func idleAppWith(tb testing.TB, log *slog.Logger, buckets icmp.Buckets) *app {
	tb.Helper()
	cfg := &config.Config{Limits: config.DefaultLimits()}
	tools, err := subject.OpenInstruments(netio.Config{Limits: subject.Limits(cfg), Log: log})
	if err != nil {
		tb.Fatal(err)
	}
	a, err := newApp(tools, cfg, buckets, "", log)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(a.close)
	return a
}

// probeFamilies are those about one measurement of /probe.
func probeFamilies() []documented {
	var rows []documented
	for _, g := range probe.Gauges() {
		rows = append(rows, documented{g.Name, "gauge", g.Help, nil})
	}
	return rows
}

// processFamilies are those about the process, once it has counted an error and has a peer file. Those of the Go
// runtime and of promhttp belong to their libraries.
func processFamilies(t *testing.T, a *app) []documented {
	t.Helper()
	a.count(suite.ICMP.String(), collectors.ReasonRoute)
	if _, _, err := a.files.Complete(&config.Config{PeerFiles: []string{filepath.Join(t.TempDir(), "none", "*.yml")}}); err != nil {
		t.Fatal(err)
	}
	a.probes(t.Context, &ServeOptions{}) // they register their own
	families, err := a.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var rows []documented
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), namespace) {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		rows = append(rows, documented{f.GetName(), strings.ToLower(f.GetType().String()), f.GetHelp(), labels})
	}
	return rows
}

// familyTable renders families in the order of their names.
func familyTable(rows []documented) string {
	slices.SortFunc(rows, func(a, b documented) int { return cmp.Compare(a.name, b.name) })
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", r.name, r.kind, code(r.labels), strings.ReplaceAll(r.help, "|", `\|`))
	}
	return b.String()
}

// code renders words as code.
func code(words []string) string {
	var out []string
	for _, w := range words {
		out = append(out, "`"+w+"`")
	}
	return strings.Join(out, ", ")
}

// wordsOf renders the values of a closed set.
func wordsOf[T fmt.Stringer](values []T) []string {
	var out []string
	for _, v := range values {
		out = append(out, v.String())
	}
	return out
}

// words are the values of a closed set of strings.
func words[T ~string](values []T) []string {
	var out []string
	for _, v := range values {
		out = append(out, string(v))
	}
	return out
}

// labelValues renders the label values that are closed sets.
func labelValues(a *app) string {
	var capabilities []string
	for c := range a.tools.Stack.Capabilities() {
		capabilities = append(capabilities, string(c))
	}
	slices.Sort(capabilities)
	var reasons []string
	for _, some := range errorReasons() {
		reasons = append(reasons, some...)
	}
	slices.Sort(reasons)
	reasons = slices.Compact(reasons)
	var b strings.Builder
	b.WriteString("| metric | label | values |\n|---|---|---|\n")
	type closed struct {
		metric, label string
		values        []string
	}
	all := []closed{
		{"", "method", wordsOf(collectors.Methods())},
		{"", "diagnosis", diagnosis.Names()},
		{"mtu_state", "state", wordsOf([]search.State{search.Clean, search.Reduced, search.BlackHole, search.Unreachable, search.Inconclusive})},
		{"protocol_state", "protocol", words(protocols.Stated())},
		{"mtu_direction", "direction", wordsOf([]pmtu.Direction{pmtu.ToPeer, pmtu.FromPeer, pmtu.BothWays, pmtu.AnyDirection})},
		{"protocol_state", "state", wordsOf([]protocols.State{protocols.Passes, protocols.Blocked, protocols.Unknown})},
		{"protocol_last_hop", "protocol", words(protocols.All())},
		{"gateway_info", "type", wordsOf(config.GatewayTypes())},
		{"ike_response_info", "probe", wordsOf(ikeprobe.Ladder(ikeprobe.Auto))},
		{"ike_sas", "state", wordsOf([]gateways.IKEState{
			gateways.Connecting, gateways.XAuth, gateways.ModeCfg, gateways.Established, gateways.IKERekeying, gateways.IKEClosing,
		})},
		{"child_sas", "state", wordsOf(gateways.ChildStates())},
		{"sa_receive_errors_total", "kind", wordsOf(gateways.ErrorKinds())},
		{"", "collector", slices.Sorted(maps.Keys(errorReasons()))},
		{"", "direction", []string{"in", "out"}},
		{"", "family", []string{config.FamilyIP4.String(), config.FamilyIP6.String()}},
		{"collector_errors_total", "reason", reasons},
		{"icmp_errors_total", "error", wire.ErrorNames()},
		{"ptb_rejected_total", "reason", slices.Concat(netio.RejectReasons(), wordsOf(search.Rejections()))},
		{"capability", "name", capabilities},
		{"probe_requests_total", "result", probe.Results()},
		{"partner_state", "reason", wordsOf(partner.States())},
		{"partner_reflector_requests_total", "result", wordsOf(session.Fates())},
	}
	for _, f := range partner.Families() {
		if slices.Contains(f.Labels, "direction") {
			all = append(all, closed{strings.TrimPrefix(f.Name, namespace+"_"), "direction", partner.Directions()})
		}
	}
	for _, r := range all {
		metric := "all"
		if r.metric != "" {
			metric = "`" + namespace + "_" + r.metric + "`"
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s |\n", metric, r.label, code(r.values))
	}
	return b.String()
}

// libraryNames renders the names of the families that belong to libraries.
func libraryNames(t *testing.T, a *app) string {
	t.Helper()
	a.metricsHandler() // it registers its own
	families, err := a.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), namespace) {
			names = append(names, f.GetName())
		}
	}
	return code(names) + "\n"
}

// fill puts a generated part between its markers.
func fill(t *testing.T, page, part, content string) string {
	t.Helper()
	begin, end := "<!-- begin generated: "+part+" -->\n", "<!-- end generated: "+part+" -->\n"
	before, rest, ok := strings.Cut(page, begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no markers for %q", metricsDoc, part)
	}
	return before + begin + content + end + after
}

// TestMetricsDoc compares docs/metrics.md with what the code exposes; with -update it writes the
// page.
func TestMetricsDoc(t *testing.T) {
	b, err := os.ReadFile(metricsDoc)
	if err != nil {
		t.Fatal(err)
	}
	have, a := string(b), idleApp(t, slog.New(slog.DiscardHandler))
	want := fill(t, have, "peers", familyTable(peerFamilies()))
	want = fill(t, want, "gateways", familyTable(gatewayFamilies()))
	want = fill(t, want, "process", familyTable(processFamilies(t, a)))
	want = fill(t, want, "probe", familyTable(probeFamilies()))
	want = fill(t, want, "libraries", libraryNames(t, a))
	want = fill(t, want, "values", labelValues(a))
	if *updateDoc {
		if err := os.WriteFile(metricsDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := gocmp.Diff(have, want); diff != "" {
		t.Errorf("docs/metrics.md is out of date, run go test ./exporter -run TestMetricsDoc -update (-have +want):\n%s", diff)
	}
}

// TestMetricsDocNamesWhatIsExposed: a family that a running peer exposes but Families leaves out
// would be in no document.
func TestMetricsDocNamesWhatIsExposed(t *testing.T) {
	a := idleApp(t, slog.New(slog.DiscardHandler))
	cfg, err := config.FromArguments([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	a.apply(t.Context(), cfg) // the schedule does not run: nothing is sent
	page, err := a.store.Open(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer page.Close()
	rows, exposed := peerFamilies(), 0
	known := func(f *dto.MetricFamily) bool {
		return slices.ContainsFunc(rows, func(r documented) bool { return r.name == f.GetName() && r.help == f.GetHelp() })
	}
	for i := range page.Len() {
		for f := range page.Parts(i, 1) {
			exposed++
			if !known(f) {
				t.Errorf("%s is exposed and not documented", f.GetName())
			}
		}
	}
	if exposed == 0 {
		t.Error("a new peer exposes nothing")
	}
}
