package diagnosis

import "ipsec_path_exporter/collectors"

var (
	diagnosisFamily = &collectors.Family{
		Name:   "ipsec_path_diagnosis",
		Help:   "1 while the named conclusion about the path to the peer holds, absent otherwise.",
		Kind:   collectors.Gauge,
		Labels: []string{"diagnosis"},
	}
	sinceFamily = &collectors.Family{
		Name:   "ipsec_path_diagnosis_since_timestamp_seconds",
		Help:   "Unix time since which the diagnosis holds, absent while it does not.",
		Kind:   collectors.Gauge,
		Labels: []string{"diagnosis"},
	}
	healthyFamily = &collectors.Family{
		Name: "ipsec_path_peer_healthy",
		Help: "1 if the peer answers and no diagnosis holds, 0 if one does, absent while neither is known.",
		Kind: collectors.Gauge,
	}
)

var _ collectors.Exposer = (*Metrics)(nil)

// Metrics exposes the diagnoses of one peer.
type Metrics struct {
	tracker *Tracker
	healthy *collectors.Series
	rows    []row
}

// A row is the series of one diagnosis.
type row struct {
	name        string
	held, since *collectors.Series
}

// NewMetrics makes the series of the diagnoses that the tracker remembers.
func NewMetrics(scope collectors.Scope, tracker *Tracker) *Metrics {
	m := &Metrics{tracker: tracker, healthy: scope.Series(healthyFamily)}
	for _, name := range Names() {
		m.rows = append(m.rows, row{name, scope.Series(diagnosisFamily, name), scope.Series(sinceFamily, name)})
	}
	return m
}

// Expose sets the series of what holds now, and clears those of what does not.
func (m *Metrics) Expose() {
	m.tracker.mu.Lock()
	defer m.tracker.mu.Unlock()
	m.healthy.Clear()
	if healthy, known := m.tracker.health(); known {
		m.healthy.SetBool(healthy)
	}
	for _, r := range m.rows {
		since := m.tracker.since(r.name)
		if since.IsZero() {
			r.held.Clear()
			r.since.Clear()
			continue
		}
		r.held.Set(1)
		r.since.Set(float64(since.UnixMilli()) / 1000)
	}
}
