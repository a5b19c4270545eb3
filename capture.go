package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"ipsec_path_exporter/internal/capture"
	"ipsec_path_exporter/internal/capture/asa"
)

// captureOptions are what the command line says to look at.
type captureOptions struct {
	files, asas                    []string
	username, passwordFile, caFile string
	insecure, legacy               bool
	output                         string
	timeout                        time.Duration
	maxBytes                       int64
}

func captureCommand(app *kingpin.Application) (*kingpin.CmdClause, *captureOptions) {
	o := &captureOptions{}
	c := app.Command("capture", "Tell from one capture, or from two of the same traffic taken at both ends, what happened to IKE, ESP, AH and their fragments. "+
		"Exits 0 if no fault was found, 1 if one was, 2 if a capture could not be read; see docs/captures.md.")
	c.Arg("file", "Captures: pcap or pcapng, also compressed by gzip.").StringsVar(&o.files)
	c.Flag("asa", "Fetch a capture from a Cisco ASA: https://HOST/capture/NAME/pcap. Repeatable.").PlaceHolder("URL").StringsVar(&o.asas)
	c.Flag("username", "User of the ASA.").StringVar(&o.username)
	c.Flag("password-file", "File with the password of that user.").StringVar(&o.passwordFile)
	c.Flag("ca-file", "File with the certificates (PEM) that may have signed that of the ASA, in place of the system's.").StringVar(&o.caFile)
	c.Flag("insecure", "Do not verify the certificate of the ASA: whoever is in between gets the password.").BoolVar(&o.insecure)
	c.Flag("tls-legacy", "Also speak what ASAs before 9.3 do: TLS 1.0 and weak ciphers.").BoolVar(&o.legacy)
	c.Flag("output", "Form of the report: text or json.").Default("text").StringVar(&o.output)
	c.Flag("timeout", "Give up fetching a capture after this long.").Default("2m").DurationVar(&o.timeout)
	c.Flag("max-bytes", "Largest capture to fetch.").Default("268435456").Int64Var(&o.maxBytes)
	return c, o
}

// runCapture prints problems to standard error, and the report to standard output.
func runCapture(ctx context.Context, o *captureOptions) int {
	report, err := o.report(ctx)
	if err != nil {
		fmt.Fprintf(os.Stderr, "ipsec_path_exporter: error: %v\n", err)
		return exitUnable
	}
	write := report.WriteText
	if o.output == "json" {
		write = report.WriteJSON
	}
	damaged := report.Damaged()
	for _, d := range damaged {
		fmt.Fprintf(os.Stderr, "ipsec_path_exporter: error: %s\n", d)
	}
	if err := write(os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "ipsec_path_exporter: error: %v\n", err)
		return exitUnable
	}
	switch {
	case report.Faults:
		return exitFault
	case len(damaged) > 0:
		return exitUnable
	}
	return exitOK
}

// report reads all captures.
func (o *captureOptions) report(ctx context.Context) (*capture.Report, error) {
	switch n := len(o.files) + len(o.asas); {
	case n == 0:
		return nil, errors.New("nothing to read: give one or two captures, or --asa")
	case n > 2:
		return nil, fmt.Errorf("%d captures: one, or two of the same traffic, can be read", n)
	case o.output != "text" && o.output != "json":
		return nil, fmt.Errorf("--output=%s: there is text and json", o.output)
	}
	for _, address := range o.asas {
		if err := asa.Check(address); err != nil {
			return nil, err
		}
	}
	var all []*capture.Analysis
	names := distinctNames(o.files)
	for i, file := range o.files {
		a, err := readFile(file, names[i])
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	if len(o.asas) == 0 {
		return capture.NewReport(all...), nil
	}
	device, err := asa.New(asa.Options{
		Username: o.username, PasswordFile: o.passwordFile, CAFile: o.caFile, Insecure: o.insecure, Legacy: o.legacy, Timeout: o.timeout, MaxBytes: o.maxBytes,
	})
	if err != nil {
		return nil, err
	}
	for _, address := range o.asas {
		a, err := fetchCapture(ctx, device, address)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return capture.NewReport(all...), nil
}

// distinctNames are short names of files, if they differ in them.
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

func readFile(file, name string) (*capture.Analysis, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return capture.Analyze(name, f)
}

func fetchCapture(ctx context.Context, device *asa.Client, address string) (a *capture.Analysis, err error) {
	name := strings.TrimPrefix(address, "https://")
	if u, err := url.Parse(address); err == nil {
		name = u.Host + u.Path
	}
	err = device.Fetch(ctx, address, func(body io.Reader) error {
		a, err = capture.Analyze(name, body)
		return err
	})
	return a, err
}
