//go:build !linux

package sandbox

// Enter changes nothing where the system is not Linux.
func Enter(Rules) (Outcome, error) { return Outcome{}, ErrUnsupported }
