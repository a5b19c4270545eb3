package diagnosis

import (
	"sync"

	"ipsec_path_exporter/collectors"
)

var (
	diagnosisFamily = &collectors.Family{
		Name:     "ipsec_path_diagnosis",
		Help:     "1 while the named conclusion about the path to the peer, or about its SAs at a gateway, holds; absent otherwise.",
		Kind:     collectors.Gauge,
		Labels:   []string{"diagnosis"},
		Optional: []string{"gateway"},
	}
	sinceFamily = &collectors.Family{
		Name:     "ipsec_path_diagnosis_since_timestamp_seconds",
		Help:     "Unix time since which the diagnosis holds, absent while it does not.",
		Kind:     collectors.Gauge,
		Labels:   []string{"diagnosis"},
		Optional: []string{"gateway"},
	}
	changesFamily = &collectors.Family{
		Name:     "ipsec_path_diagnosis_changes_total",
		Help:     "How often the diagnosis turned on or off; absent until it has once.",
		Kind:     collectors.Counter,
		Labels:   []string{"diagnosis"},
		Optional: []string{"gateway"},
	}
	healthyFamily = &collectors.Family{
		Name: "ipsec_path_peer_healthy",
		Help: "1 if the peer answers and no diagnosis holds, 0 if one does, absent while neither is known.",
		Kind: collectors.Gauge,
	}
)

// Families are the families of diagnoses.
func Families() []*collectors.Family {
	return []*collectors.Family{healthyFamily, diagnosisFamily, sinceFamily, changesFamily}
}

var (
	_ collectors.Exposer = (*Metrics)(nil)
	_ collectors.Exposer = (*row)(nil)
)

// A Scope makes the series of one peer and takes their Exposers, at any time but while one of them exposes.
type Scope interface {
	collectors.Scope
	Attach(e collectors.Exposer)
}

// Metrics exposes the diagnoses of one peer. The series of a diagnosis are made when it turns on for the first time: there are
// many diagnoses and gateways, and most peers never have any.
type Metrics struct {
	scope   Scope
	tracker *Tracker
	healthy *collectors.Series

	mu   sync.Mutex
	rows map[key]bool
}

// NewMetrics makes the series of the peer's health. Attach it to the scope.
func NewMetrics(scope Scope, tracker *Tracker) *Metrics {
	return &Metrics{scope: scope, tracker: tracker, healthy: scope.Series(healthyFamily), rows: make(map[key]bool)}
}

// Turned makes the series of diagnoses that turned for the first time. Call it with whatever the tracker's Update returns.
func (m *Metrics) Turned(changed []Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range changed {
		k := changed[i].key()
		if m.rows[k] {
			continue
		}
		m.rows[k] = true
		values := []string{k.name}
		if k.gateway != "" {
			values = append(values, k.gateway)
		}
		m.scope.Attach(&row{
			tracker: m.tracker, key: k, held: m.scope.Series(diagnosisFamily, values...),
			since: m.scope.Series(sinceFamily, values...), changes: m.scope.Series(changesFamily, values...),
		})
	}
}

// Expose sets whether the peer is healthy.
func (m *Metrics) Expose() {
	m.healthy.Clear()
	if healthy, known := m.tracker.Healthy(); known {
		m.healthy.SetBool(healthy)
	}
}

// A row is the series of one diagnosis.
type row struct {
	tracker              *Tracker
	key                  key
	held, since, changes *collectors.Series
}

// Expose sets the series if the diagnosis holds now, and clears them if it does not.
func (r *row) Expose() {
	r.tracker.mu.Lock()
	defer r.tracker.mu.Unlock()
	r.changes.Set(float64(r.tracker.turns[r.key].total))
	since := r.tracker.since(r.key)
	if since.IsZero() {
		r.held.Clear()
		r.since.Clear()
		return
	}
	r.held.Set(1)
	r.since.Set(float64(since.UnixMilli()) / 1000)
}
