package probe

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/check"
)

// A Gauge is a metric about one measurement, without labels. Two of them have the names that
// blackbox_exporter gave them.
type Gauge struct{ Name, Help string }

func success() Gauge {
	return Gauge{
		"probe_success",
		"1 if no fault was found, 0 if one was confirmed; absent if neither is known, as where the time of the scrape did not suffice.",
	}
}

func duration() Gauge {
	return Gauge{"probe_duration_seconds", "How long the measurement took, in seconds."}
}

func complete() Gauge {
	return Gauge{"probe_complete", "1 if the time of the scrape sufficed for every collector and verdict, 0 if some are unknown."}
}

func age() Gauge {
	return Gauge{
		"probe_age_seconds",
		"Time since the measurement began, in seconds: longer than it took where the result is shared with an earlier request.",
	}
}

// Gauges returns all metrics about one measurement.
func Gauges() []Gauge { return []Gauge{age(), complete(), duration(), success()} }

// family makes a family with a value.
func (g Gauge) family(v float64) *dto.MetricFamily {
	return &dto.MetricFamily{
		Name: &g.Name, Help: &g.Help, Type: dto.MetricType_GAUGE.Enum(), Metric: []*dto.Metric{{Gauge: &dto.Gauge{Value: &v}}},
	}
}

// ownFamilies are the families about one measurement that do not change.
func ownFamilies(o *check.Outcome) []*dto.MetricFamily {
	all := []*dto.MetricFamily{complete().family(collectors.Bool(o.Complete)), duration().family(o.Took.Seconds())}
	if ok, known := o.Success(); known {
		all = append(all, success().family(collectors.Bool(ok)))
	}
	return all
}

// How requests end.
const (
	resultMeasured = "measured"
	resultShared   = "shared"
	resultKnown    = "known"
	resultRefused  = "refused"
	resultGone     = "client_gone"
)

// Results returns the values of the label result.
func Results() []string {
	return []string{resultMeasured, resultShared, resultKnown, resultRefused, resultGone}
}

// requests counts the requests by how they end.
type requests struct{ *prometheus.CounterVec }

func newRequests() *requests {
	r := &requests{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ipsec_path_probe_requests_total",
		Help: "Requests of /probe: measured, shared with an earlier request, known from the schedule without asking a silent peer, refused, or client_gone.",
	}, []string{"result"})}
	for _, result := range Results() {
		r.WithLabelValues(result)
	}
	return r
}

func (r *requests) count(result string) { r.WithLabelValues(result).Inc() }

// Requests returns the counter of all requests.
func (h *Handler) Requests() prometheus.Collector { return h.requests.CounterVec }
