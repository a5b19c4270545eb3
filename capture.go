package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"ipsec_path_exporter/internal/capture/command"
	"ipsec_path_exporter/internal/untrusted"
)

func captureCommand(app *kingpin.Application) (*kingpin.CmdClause, *command.Options) {
	o := &command.Options{Stdin: os.Stdin, Stdout: untrusted.Writer(os.Stdout)}
	c := app.Command("capture", "Analyze one packet capture, or two of the same traffic taken at both ends: "+
		"what happened to IKE, ESP, AH and their fragments. "+
		"Exits 0 if no fault was found, 1 if one was, 2 if a capture could not be read or holds no VPN packet; see docs/captures.md.")
	c.Arg("file", "Captures: pcap or pcapng, also compressed by gzip; - is standard input.").StringsVar(&o.Files)
	c.Flag("asa", "Fetch a capture from a Cisco ASA: https://HOST/capture/NAME/pcap. Repeatable.").PlaceHolder("URL").StringsVar(&o.ASAs)
	c.Flag("username", "User of the ASA.").StringVar(&o.Device.Username)
	c.Flag("password-file", "File with the password of that user.").StringVar(&o.Device.PasswordFile)
	c.Flag("ca-file", "File with the CA certificates (PEM) to trust for the ASA, instead of the system's.").StringVar(&o.Device.TLS.CAFile)
	c.Flag("insecure", "Do not verify the certificate of the ASA. A man in the middle can then read the password.").BoolVar(&o.Device.TLS.Insecure)
	c.Flag("tls-legacy", "Also allow TLS 1.0 and weak ciphers, which an ASA before 9.3 needs.").BoolVar(&o.Device.TLS.Legacy)
	c.Flag("output", "Form of the report: text or json.").Default("text").StringVar(&o.Output)
	c.Flag("timeout", "Give up fetching a capture after this long.").Default("2m").DurationVar(&o.Device.Timeout)
	c.Flag("max-bytes", "Largest capture to fetch.").Default("268435456").Int64Var(&o.Device.MaxBytes)
	return c, o
}

// runCapture prints problems to standard error, and the report to standard output.
func runCapture(ctx context.Context, o *command.Options) int {
	for i, name := range o.Files {
		if name == "" && slices.Contains(os.Args, "-") {
			o.Files[i] = "-" // kingpin hands it over as an empty name
		}
	}
	faults, err := command.Run(ctx, *o)
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintf(stderr(), "ipsec_path_exporter: error: %s\n", line)
		}
	}
	switch {
	case faults:
		return exitFault
	case err != nil:
		return exitUnable
	}
	return exitOK
}
