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

	// lookEvery is how often the metrics are looked at, and askTimeout how long one answer may take.
	lookEvery  = time.Second
	askTimeout = 10 * time.Second
	// late is when it is said which peers are not yet known to be what they are.
	late = 90 * time.Second
)

// The series that tell what was found about a peer.
const (
	diagnosisMetric = "ipsec_path_diagnosis"
	healthyMetric   = "ipsec_path_peer_healthy"
)

// A visitor looks at the exporter from outside, as its user does, and says what is to be seen.
type visitor struct {
	out   io.Writer
	began time.Time
	base  string
	peers []peer
	// client goes by no proxy.
	client http.Client

	// seen is what was said last about each peer.
	seen      map[string]string
	all, told bool
}

// visit waits for the exporter, says what is where, and then what is found, until ctx ends.
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

// get reads a page.
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

// nothing is what is found about a peer that is healthy.
const nothing = "no fault"

// look reads what is known about each peer: its diagnoses, or that there is none. Of whom nothing is known yet is left out.
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

// join writes diagnoses in a row.
func join(names []string) string { return strings.Join(slices.Sorted(slices.Values(names)), ", ") }

// expected is what must be found about the peer.
func (p *peer) expected() string {
	if len(p.diagnoses) == 0 {
		return nothing
	}
	return join(p.diagnoses)
}

// introduce says what is where.
func (v *visitor) introduce() {
	fmt.Fprintf(v.out, "%d peers behind simulated providers, in namespaces of this process: nothing outside of them is touched. Ctrl-C ends it all.\n\n", len(v.peers))
	w := tabwriter.NewWriter(v.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PEER\tISP\tWHAT ITS PATH DOES\tWHAT WILL BE FOUND")
	for i := range v.peers {
		p := &v.peers[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.name, p.isp, p.path, p.expected())
	}
	fmt.Fprintln(w)
	const shown = "black-hole-no-icmp"
	for _, line := range [][2]string{
		{"status page", "/"},
		{"a peer", "/peers/" + shown},
		{"its report", "/peers/" + shown + "/report"},
		{"its packets", "/peers/" + shown + "/pcap"},
		{"metrics", metricsPath},
	} {
		fmt.Fprintf(w, "%s\t%s%s\n", line[0], v.base, line[1])
	}
	_ = w.Flush() // who cannot be told anything is not told that either
	fmt.Fprintf(v.out, `
For Prometheus:

  scrape_configs:
    - job_name: ipsec_path
      scrape_interval: 5s
      static_configs:
        - targets: [%q]

`, strings.TrimPrefix(v.base, "http://"))
	fmt.Fprintf(v.out, "Ready after %.1f s. What is found, each fault confirmed by a second measurement:\n\n", time.Since(v.began).Seconds())
}

// report says what is new.
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
		fmt.Fprintf(v.out, "\nAll %d peers are found to be what they are, after %.0f s.\n\n", len(v.peers), after.Seconds())
	case len(missing) > 0 && !v.all && !v.told && after > late:
		v.told = true
		fmt.Fprintf(v.out, "\nAfter %.0f s these are not yet found to be what they are: %s. A slow machine takes longer.\n\n", after.Seconds(), strings.Join(missing, ", "))
	}
}
