//go:build linux

package demo

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"ipsec_path_exporter/exporter/diagnosis"
)

const (
	metricsPath = "/metrics"
	readyPath   = "/-/ready"

	// lookEvery is the interval of the scrapes, askTimeout the timeout of one request.
	lookEvery  = time.Second
	askTimeout = 10 * time.Second
	// late is the time after which the demo lists the peers without the expected result. A stuck
	// negotiation takes two minutes of readings.
	late = 5 * time.Minute
)

// Series with the results of a peer.
const (
	diagnosisMetric = "ipsec_path_diagnosis"
	healthyMetric   = "ipsec_path_peer_healthy"
)

// A visitor reads the exporter from outside, like its user, and prints the results.
type visitor struct {
	out   io.Writer
	began time.Time
	base  string
	peers []peer
	// client uses no proxy.
	client http.Client

	// once ends the visit with the first verdict.
	once bool

	// seen is the last printed result of each peer.
	seen map[string]string
	// rest reports whether the result of all but the slow peers was printed.
	rest, all, warned bool
}

// errNoVerdict means that the visit ended early.
var errNoVerdict = errors.New("the demo was stopped before its verdict")

// visit waits for the exporter, prints the introduction and then the results until ctx ends. With
// once it ends with the verdict, which is an error if the results are not as expected.
func (v *visitor) visit(ctx context.Context) error {
	v.seen = make(map[string]string)
	v.client.Transport = &http.Transport{}
	defer v.client.CloseIdleConnections()
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for ready := false; ; {
		err := v.step(ctx, &ready)
		if v.once && ctx.Err() == nil && (v.all || err != nil && time.Since(v.began) > late) {
			return err
		}
		select {
		case <-ctx.Done():
			if v.once {
				return errNoVerdict
			}
			return nil
		case <-ticker.C:
		}
	}
}

// step asks whether the exporter is ready, and prints its results if it is. The error says why there
// are none, or is the verdict.
func (v *visitor) step(ctx context.Context, ready *bool) error {
	if !*ready {
		if _, err := v.get(ctx, readyPath); err != nil {
			return err
		}
		v.introduce()
		*ready = true
	}
	found, err := v.look(ctx)
	if err != nil {
		return err
	}
	return v.report(found)
}

func (v *visitor) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.base+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	answer, err := v.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, answer.Status)
	}
	return io.ReadAll(answer.Body)
}

// Results other than diagnoses.
const (
	nothing = "no fault"
	unknown = "unknown"
)

// look reads the result of each peer: its diagnoses, or that there is none. It omits peers without
// a result.
func (v *visitor) look(ctx context.Context) (map[string]string, error) {
	body, err := v.get(ctx, metricsPath)
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	diagnoses := make(map[string][]string)
	found := make(map[string]string)
	for _, name := range []string{healthyMetric, diagnosisMetric} {
		for _, m := range families[name].GetMetric() {
			labels := make(map[string]string)
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			switch {
			case m.GetGauge().GetValue() != 1:
			case name == healthyMetric:
				found[labels["peer"]] = nothing
			default:
				diagnoses[labels["peer"]] = append(diagnoses[labels["peer"]], labels["diagnosis"])
			}
		}
	}
	for p, names := range diagnoses {
		found[p] = join(names)
	}
	return found, nil
}

func join(names []string) string { return strings.Join(slices.Sorted(slices.Values(names)), ", ") }

func (p *peer) expected() string {
	if len(p.diagnoses) == 0 {
		return nothing
	}
	return join(p.diagnoses)
}

// slow reports whether the expected diagnosis takes minutes.
func (p *peer) slow() bool { return slices.Contains(p.diagnoses, diagnosis.NegotiationStuck) }

// introduce prints the peers and the pages, in at most 80 columns.
func (v *visitor) introduce() {
	fmt.Fprintf(v.out, "%d peers behind simulated providers, in namespaces of this process.\nNothing outside of them changes. Press Ctrl-C to stop.\n\n", len(v.peers))
	w := tabwriter.NewWriter(v.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PEER\tISP\tPATH\tEXPECTED DIAGNOSES")
	for i := range v.peers {
		p := &v.peers[i]
		// A line for each diagnosis: two beside each other would be wider than the terminal.
		first, more, _ := strings.Cut(p.expected(), ", ")
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.name, p.isp, p.path, first)
		for more != "" {
			first, more, _ = strings.Cut(more, ", ")
			fmt.Fprintf(w, "\t\t\t%s\n", first)
		}
	}
	fmt.Fprintf(w, "\nThe gateway %q, a simulated Cisco ASA, has the tunnels of some peers:\n\n", hubName)
	for i := range v.peers {
		if p := &v.peers[i]; p.tunnel.stuck {
			fmt.Fprintf(w, "%s\tEZVPN negotiation, hangs in AM_TM_INIT_MODECFG_V6H\n", p.name)
		} else if p.tunnel != (tunnel{}) {
			fmt.Fprintf(w, "%s\tup, the gateway assumes a path MTU of %d bytes\n", p.name, p.tunnel.pathMTU)
		}
	}
	fmt.Fprintln(w)
	const shown = "black-hole-no-icmp"
	for _, line := range [][2]string{
		{"status page", "/"},
		{"peer page", "/peers/" + shown},
		{"report", "/peers/" + shown + "/report"},
		{"packets", "/peers/" + shown + "/pcap"},
		{"metrics", metricsPath},
	} {
		fmt.Fprintf(w, "%s\t%s%s\n", line[0], v.base, line[1])
	}
	_ = w.Flush() // the output cannot report its own failure
	fmt.Fprintf(v.out, `
For Prometheus:

  scrape_configs:
    - job_name: ipsec_path
      scrape_interval: 5s
      static_configs:
        - targets: [%q]

`, strings.TrimPrefix(v.base, "http://"))
	fmt.Fprintf(v.out, "Ready after %.1f s. Results, each fault confirmed by a second measurement:\n\n", time.Since(v.began).Seconds())
}

// report prints results that have changed, and the verdict. The error is the verdict on a demo that
// is late.
func (v *visitor) report(found map[string]string) error {
	var missing []*peer
	for i := range v.peers {
		p := &v.peers[i]
		now := found[p.name]
		if now != p.expected() {
			missing = append(missing, p)
		}
		before, known := v.seen[p.name]
		if now == before || now == "" && !known {
			continue
		}
		v.seen[p.name] = now
		fmt.Fprintf(v.out, "%4.0f s  %-21s %s\n", time.Since(v.began).Seconds(), p.name, cmp.Or(now, unknown))
	}
	return v.verdict(missing, found)
}

// verdict prints how many peers are diagnosed as expected, when that is known.
func (v *visitor) verdict(missing []*peer, found map[string]string) error {
	after := time.Since(v.began)
	switch {
	case v.all:
	case len(missing) == 0:
		v.all = true
		fmt.Fprintf(v.out, "\nAll %d peers diagnosed as expected after %.0f s.\n\n", len(v.peers), after.Seconds())
	case after > late && !v.warned:
		v.warned = true
		fmt.Fprintf(v.out, "\nNot yet diagnosed as expected after %.0f s (a slow machine takes longer):\n\n", after.Seconds())
		for _, p := range missing {
			fmt.Fprintf(v.out, "%s\n  expected  %s\n  found     %s\n", p.name, p.expected(), cmp.Or(found[p.name], unknown))
		}
		fmt.Fprintln(v.out)
		return fmt.Errorf("%d of %d peers are not diagnosed as expected", len(missing), len(v.peers))
	case !v.rest && !slices.ContainsFunc(missing, func(p *peer) bool { return !p.slow() }):
		v.rest = true
		fmt.Fprintf(v.out, "\n%d of %d peers diagnosed as expected after %.0f s.\n"+
			"A negotiation is stuck when readings show it for two minutes.\n\n", len(v.peers)-len(missing), len(v.peers), after.Seconds())
	}
	return nil
}
