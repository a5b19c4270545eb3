package probe

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"ipsec_path_exporter/exporter/check"
	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/report"
	"ipsec_path_exporter/exporter/store"
)

// A result is what one measurement found, ready to be written: a fraction of what it was found with.
type result struct {
	began  time.Time
	report *report.Report
	// silent means that the address was found to answer nothing.
	silent   bool
	families []*dto.MetricFamily // sorted by name
}

var _ prometheus.Gatherer = (*result)(nil)

// render makes the result of an outcome.
func (h *Handler) render(peer config.Peer, o *check.Outcome, began time.Time) (*result, error) {
	series := store.New(time.Now)
	series.OnPanic(func(p store.Panic) {
		h.Log.Error("exposing results panicked; series missing from /probe",
			"peer", p.Peer, "exposer", p.Exposer, "panic", p.Value, "stack", p.Stack)
	})
	h.Source.Expose(o, series.AddPeer(peer.Name, peer.Labels))
	page, err := series.Open(context.Background(), nil) // nobody else reads it: it does not wait
	if err != nil {
		return nil, err
	}
	defer page.Close()
	r := &result{began: began, report: o.Report, silent: o.Silent(), families: ownFamilies(o)}
	for i := range page.Len() {
		for f := range page.Parts(i, math.MaxInt) {
			r.families = append(r.families, proto.CloneOf(f)) // it is the page's, which ends here
		}
	}
	slices.SortFunc(r.families, byName)
	return r, nil
}

func byName(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) }

// Gather implements prometheus.Gatherer. A family must not be changed: it is shared.
func (r *result) Gather() ([]*dto.MetricFamily, error) {
	age := age().family(time.Since(r.began).Seconds())
	at, _ := slices.BinarySearchFunc(r.families, age, byName)
	return slices.Insert(slices.Clone(r.families), at, age), nil
}
