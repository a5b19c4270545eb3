// Package command is the command `capture`: it reads one or two captures from files or from a Cisco
// ASA and prints what package capture finds in them. It knows no flags and no exit codes.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"

	"ipsec_path_exporter/internal/capture"
	"ipsec_path_exporter/internal/capture/asa"
)

// Options say which captures to read and how to print the report.
type Options struct {
	// Files are names of pcap or pcapng files ("-" is Stdin), ASAs the addresses of captures on a
	// device.
	Files, ASAs []string
	Stdin       io.Reader
	// Device says how to reach the device of all ASAs.
	Device asa.Options
	// Output is "text" or "json".
	Output string
	Stdout io.Writer
}

// stdin is the file name of standard input.
const stdin = "-"

// Run prints the report and reports whether a capture shows a fault. The error joins the problems
// of all captures that could be read in part only, or that show no VPN; then there is a report as
// well.
func Run(ctx context.Context, o Options) (faults bool, err error) {
	report, err := o.report(ctx)
	if err != nil {
		return false, err
	}
	write := report.WriteText
	if o.Output == "json" {
		write = report.WriteJSON
	}
	if err := write(o.Stdout); err != nil {
		return false, err
	}
	var problems []error
	for _, p := range report.Problems() {
		problems = append(problems, errors.New(p))
	}
	return report.Faults, errors.Join(problems...)
}

func (o *Options) report(ctx context.Context) (*capture.Report, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	var all []*capture.Analysis
	names := distinctNames(o.Files)
	for i, file := range o.Files {
		a, err := o.readFile(file, names[i])
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	if len(o.ASAs) == 0 {
		return capture.NewReport(all...), nil
	}
	device, err := asa.New(o.Device)
	if err != nil {
		return nil, err
	}
	for _, address := range o.ASAs {
		a, err := fetch(ctx, device, address)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return capture.NewReport(all...), nil
}

func (o *Options) check() error {
	switch n := len(o.Files) + len(o.ASAs); {
	case n == 0:
		return errors.New("no capture: give one or two files, or --asa")
	case n > 2:
		return fmt.Errorf("%d captures: give one, or two of the same traffic", n)
	case len(o.Files) == 2 && o.Files[0] == stdin && o.Files[1] == stdin:
		return errors.New("-: standard input holds one capture only (give a file as well)")
	case o.Output != "text" && o.Output != "json":
		return fmt.Errorf("--output=%s: must be one of: text, json", o.Output)
	}
	for _, address := range o.ASAs {
		if err := asa.Check(address); err != nil {
			return err
		}
	}
	return nil
}

// distinctNames returns file names without their directories, unless those are equal.
func distinctNames(files []string) []string {
	short := make([]string, 0, len(files))
	for _, f := range files {
		short = append(short, filepath.Base(f))
	}
	if len(short) == 2 && short[0] == short[1] {
		return files
	}
	return short
}

func (o *Options) readFile(file, name string) (*capture.Analysis, error) {
	if file == stdin {
		return capture.Analyze("standard input", o.Stdin)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return capture.Analyze(name, f)
}

func fetch(ctx context.Context, device *asa.Client, address string) (a *capture.Analysis, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	err = device.Fetch(ctx, address, func(body io.Reader) error {
		a, err = capture.Analyze(u.Host+u.Path, body)
		return err
	})
	return a, err
}
