package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"ipsec_path_exporter/bench/rows"
	"ipsec_path_exporter/internal/netlab"
)

// measure runs a row in namespaces of its own: this program starts itself again inside.
func measure(ctx context.Context, name string, o rows.Options, results string) (int, error) {
	if !netlab.Enter() {
		err := netlab.RunPrivileged(ctx)
		var failed *netlab.ExitError
		switch {
		case errors.As(err, &failed):
			return failed.Code, nil // it has printed why
		case err != nil:
			return exitUnable, err
		}
		return exitOK, nil
	}
	checks, err := rows.Run(ctx, name, o)
	if err != nil {
		return exitUnable, err
	}
	return report(o.Out, checks, results)
}

// report prints checks, adds them to a file if one is named, and returns the exit code.
func report(out io.Writer, checks []rows.Check, results string) (int, error) {
	rows.WriteChecks(out, checks)
	if results != "" {
		if err := appendResults(results, checks); err != nil {
			return exitUnable, err
		}
	}
	for i := range checks {
		if checks[i].Failed() {
			return exitFail, nil
		}
	}
	return exitOK, nil
}

// appendResults adds one JSON line per check to a file.
func appendResults(name string, checks []rows.Check) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(f)
	for _, c := range checks {
		err = errors.Join(err, encoder.Encode(c))
	}
	return errors.Join(err, f.Close())
}

// readResults reads what appendResults has written.
func readResults(name string) ([]rows.Check, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []rows.Check
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		var c rows.Check
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		all = append(all, c)
	}
	return all, lines.Err()
}
