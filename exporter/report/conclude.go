package report

// Conclude completes reports when everything that was measured is in them: advice for every diagnosis, what is not known, and, where a
// peer was measured over several ways out, what that comparison shows. It is called once for the reports of one run.
func Conclude(reports []*Report) {
	for _, r := range reports {
		r.conclude()
	}
	for _, ways := range byPeer(reports) {
		if len(ways) < 2 {
			continue
		}
		conclusion := compare(ways)
		for _, r := range ways {
			r.Comparison = conclusion
		}
	}
}

func (r *Report) conclude() {
	for _, d := range r.Diagnoses {
		if a, ok := r.advise(d.Name); ok {
			r.Advice = append(r.Advice, a)
		}
	}
	r.Unknown = append(r.Unknown, r.unknowns()...)
}

// byPeer groups reports of the same peer that stand side by side.
func byPeer(reports []*Report) (groups [][]*Report) {
	for _, r := range reports {
		if n := len(groups); n > 0 && groups[n-1][0].Peer == r.Peer {
			groups[n-1] = append(groups[n-1], r)
			continue
		}
		groups = append(groups, []*Report{r})
	}
	return groups
}
