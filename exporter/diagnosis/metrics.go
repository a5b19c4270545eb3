package diagnosis

import (
	"sync"
	"time"

	"ipsec_path_exporter/collectors"
)

var (
	diagnosisFamily = collectors.GaugeFamily("ipsec_path_diagnosis",
		"1 while the named conclusion about the path to the peer, or about its SAs at a gateway, holds; absent otherwise.", "diagnosis", "severity").WithOptional("gateway")
	sinceFamily = collectors.GaugeFamily("ipsec_path_diagnosis_since_timestamp_seconds",
		"Unix time since which the diagnosis holds, absent while it does not.", "diagnosis").WithOptional("gateway")
	changesFamily = collectors.CounterFamily("ipsec_path_diagnosis_changes_total",
		"How often the diagnosis turned on or off; absent until it has once.", "diagnosis").WithOptional("gateway")
	healthyFamily = collectors.GaugeFamily("ipsec_path_peer_healthy",
		"1 if the peer answers and no diagnosis holds, 0 if one does, absent while neither is known.")
)

// Families returns the families of diagnoses.
func Families() []*collectors.Family {
	return []*collectors.Family{healthyFamily, diagnosisFamily, sinceFamily, changesFamily}
}

// A Scope makes the series of one peer and takes their Exposers, except while one of them exposes.
type Scope interface {
	collectors.Scope
	Attach(e collectors.Exposer)
}

// Metrics exposes the diagnoses of one peer. The series of a diagnosis are made when it turns on
// for the first time: there are many diagnoses and gateways, and most peers never have any.
type Metrics struct {
	scope   Scope
	tracker *Tracker
	healthy collectors.Series

	mu   sync.Mutex
	rows map[key]bool // nil until a diagnosis turns
}

// NewMetrics makes the series of the peer's health. Attach it to the scope.
func NewMetrics(scope Scope, tracker *Tracker) *Metrics {
	return &Metrics{scope: scope, tracker: tracker, healthy: scope.Series(healthyFamily)}
}

// Turned makes the series of diagnoses that turned for the first time. Call it with the changes
// that the tracker's Update returns.
func (m *Metrics) Turned(changed []Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range changed {
		k := changed[i].key()
		if m.rows[k] {
			continue
		}
		if m.rows == nil {
			m.rows = make(map[key]bool)
		}
		m.rows[k] = true
		values := []string{k.name}
		held := []string{k.name, string(SeverityOf(k.name))}
		if k.gateway != "" {
			values, held = append(values, k.gateway), append(held, k.gateway)
		}
		m.scope.Attach(&row{
			tracker: m.tracker, key: k, held: m.scope.Series(diagnosisFamily, held...),
			since: m.scope.Series(sinceFamily, values...), changes: m.scope.Series(changesFamily, values...),
		})
	}
}

// Expose sets whether the peer is healthy.
func (m *Metrics) Expose(to collectors.Row, _ time.Time) {
	healthy, known := m.tracker.Healthy()
	to.SetIf(m.healthy, known, collectors.Bool(healthy))
}

// A row is the series of one diagnosis.
type row struct {
	tracker              *Tracker
	key                  key
	held, since, changes collectors.Series
}

// Expose sets the series if the diagnosis holds now, and otherwise only how often it turned.
func (r *row) Expose(to collectors.Row, _ time.Time) {
	r.tracker.mu.Lock()
	defer r.tracker.mu.Unlock()
	to.Set(r.changes, float64(r.tracker.turns[r.key].total))
	since := r.tracker.since(r.key)
	to.SetIf(r.held, !since.IsZero(), 1)
	to.SetIf(r.since, !since.IsZero(), float64(since.UnixMilli())/1000)
}
