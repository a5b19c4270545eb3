package diagnosis

import (
	"slices"
	"time"
)

// State is whether a statement is known to be true.
type State uint8

// The states of a statement.
const (
	// Undecided means that it is not known whether the statement is true.
	Undecided State = iota
	// Holds means that it is true.
	Holds
	// Absent means that it is false.
	Absent
)

// String returns the state in lower case.
func (s State) String() string {
	switch s {
	case Undecided:
	case Holds:
		return "holds"
	case Absent:
		return "absent"
	}
	return "undecided"
}

// A claim is the state of a statement, and when it was measured.
type claim struct {
	state State
	at    time.Time
	// suspected means that an undecided statement looks true, and that a measurement will show.
	suspected bool
}

// when returns the claim with this truth, as old as at; unknown without known or at.
func when(known, truth bool, at time.Time) claim {
	switch {
	case !known || at.IsZero():
		return claim{}
	case truth:
		return claim{state: Holds, at: at}
	}
	return claim{state: Absent, at: at}
}

func not(c claim) claim {
	switch c.state {
	case Holds:
		return claim{state: Absent, at: c.at}
	case Absent:
		return claim{state: Holds, at: c.at}
	default:
		return c
	}
}

// unless returns a claim, which is false where one of the others holds.
func unless(c claim, others ...claim) claim {
	for _, o := range others {
		if o.state == Holds {
			return not(o)
		}
	}
	return c
}

// and is true if all claims are, false if one is, and otherwise unknown (Kleene's logic).
func and(claims ...claim) claim { return join(claims, Absent, Holds) }

// or is true if one of the claims is, false if all are, and otherwise unknown.
func or(claims ...claim) claim { return join(claims, Holds, Absent) }

// join returns the newest claim in state alone, because one of these is enough; else, if all claims
// are in state together, a claim in that state that is as old as the oldest; else an unknown claim.
func join(claims []claim, alone, together State) claim {
	var settled claim
	all := claim{state: together}
	for i, c := range claims {
		switch c.state {
		case alone:
			if settled.state == Undecided || c.at.After(settled.at) {
				settled = c
			}
		case together:
			if i == 0 || c.at.Before(all.at) {
				all.at = c.at
			}
		default:
			all.state = Undecided
		}
	}
	switch {
	case settled.state != Undecided:
		return settled
	case all.state == Undecided:
		return claim{suspected: slices.ContainsFunc(claims, func(c claim) bool { return c.suspected })}
	}
	return all
}
