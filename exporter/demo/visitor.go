//go:build linux

package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

const (
	metricsPath = "/metrics"
	readyPath   = "/-/ready"

	// lookEvery is the interval of the scrapes, askTimeout the timeout of one request.
	lookEvery  = time.Second
	askTimeout = 10 * time.Second
	// late is the time after which the demo lists the peers without the expected result.
	late = 90 * time.Second
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

	// seen is the last printed result of each peer.
	seen        map[string]string
	all, warned bool
}

// visit waits for the exporter, prints the introduction and then the results until ctx ends.
func (v *visitor) visit(ctx context.Context) {
	v.seen = make(map[string]string)
	v.client.Transport = &http.Transport{}
	defer v.client.CloseIdleConnections()
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for first := true; ; {
		switch {
		case first:
			if _, err := v.get(ctx, readyPath); err == nil {
				v.introduce()
				first = false
			}
		default:
			if found, err := v.look(ctx); err == nil {
				v.report(found)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
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

const nothing = "no fault"

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

func (v *visitor) introduce() {
	fmt.Fprintf(v.out, "%d peers behind simulated providers, in namespaces of this process. Nothing outside of them changes. Press Ctrl-C to stop.\n\n", len(v.peers))
	w := tabwriter.NewWriter(v.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PEER\tISP\tPATH\tEXPECTED DIAGNOSES")
	for i := range v.peers {
		p := &v.peers[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.name, p.isp, p.path, p.expected())
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

func (v *visitor) report(found map[string]string) {
	var missing []string
	for i := range v.peers {
		p := &v.peers[i]
		now := found[p.name]
		if now != p.expected() {
			missing = append(missing, p.name)
		}
		before, known := v.seen[p.name]
		if now == before || now == "" && !known {
			continue
		}
		v.seen[p.name] = now
		if now == "" {
			now = "unknown"
		}
		fmt.Fprintf(v.out, "%4.0f s  %-21s %s\n", time.Since(v.began).Seconds(), p.name, now)
	}
	switch after := time.Since(v.began); {
	case len(missing) == 0 && !v.all:
		v.all = true
		fmt.Fprintf(v.out, "\nAll %d peers diagnosed as expected after %.0f s.\n\n", len(v.peers), after.Seconds())
	case len(missing) > 0 && !v.all && !v.warned && after > late:
		v.warned = true
		fmt.Fprintf(v.out, "\nNot yet diagnosed as expected after %.0f s: %s. A slow machine takes longer.\n\n", after.Seconds(), strings.Join(missing, ", "))
	}
}
