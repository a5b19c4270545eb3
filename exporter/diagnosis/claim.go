package diagnosis

import "time"

// State is what is known of a statement.
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

// String names the state.
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

// A claim is a statement with what is known of it, and how old that knowledge is.
type claim struct {
	state State
	at    time.Time
}

// when is the claim that is true or false as measured at a time, if it is known.
func when(known, truth bool, at time.Time) claim {
	switch {
	case !known:
		return claim{}
	case truth:
		return claim{Holds, at}
	}
	return claim{Absent, at}
}

// not is true where c is false.
func not(c claim) claim {
	switch c.state {
	case Holds:
		return claim{Absent, c.at}
	case Absent:
		return claim{Holds, c.at}
	case Undecided:
	}
	return claim{}
}

// and is true if all claims are, false if one is, and otherwise unknown (Kleene's logic).
func and(claims ...claim) claim { return join(claims, Absent, Holds) }

// or is true if one of the claims is, false if all are, and otherwise unknown.
func or(claims ...claim) claim { return join(claims, Holds, Absent) }

// join returns the newest claim in state alone, which settles it without the others; or, where all are in state
// together, that, as old as the oldest of them; or that nothing is known.
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
		return claim{}
	}
	return all
}
