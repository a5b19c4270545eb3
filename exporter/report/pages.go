package report

import (
	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/diagnosis"
)

// Data returns what the templates of this package can name: the report with everything that follows
// from it. Templates of the pages name the same, so that they use the same words and numbers.
func (r *Report) Data() any { return &document{Report: r} }

// LostEchoes returns the newest sample of lost echoes. One without an echo is not known.
func (r *Report) LostEchoes() (s collectors.Sample) {
	if r.ICMP != nil {
		s = echoLoss(r.ICMP)
	}
	return s
}

// Worst returns the severity of the worst diagnosis, empty without one.
func (r *Report) Worst() (worst diagnosis.Severity) {
	for i := range r.Diagnoses {
		if s := r.Diagnoses[i].Severity; worst == "" || s.AtLeast(worst) {
			worst = s
		}
	}
	return worst
}
