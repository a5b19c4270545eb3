package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/alecthomas/kingpin/v2"

	"ipsec_path_exporter/exporter"
	"ipsec_path_exporter/exporter/check"
)

// A checking is what the command line says to check.
type checking struct {
	check.Options

	watch bool
}

func checkCommand(app *kingpin.Application) (*kingpin.CmdClause, *checking) {
	o := &checking{Options: check.Options{Stdout: os.Stdout, Stderr: os.Stderr}}
	c := app.Command("check", "Measure once and print a report. Exits 0 if no fault was found, 1 if one was, 2 if it could not measure.")
	c.Arg("target", "Addresses, or with --config.file names of peers (default: all of them, or the peers of the gateways of this host).").StringsVar(&o.Targets)
	c.Flag("config.file", "Configuration file (YAML) whose peers to check.").StringVar(&o.ConfigFile)
	c.Flag("output", "Form of the report: text, markdown, html or json.").Default("text").StringVar(&o.Output)
	c.Flag("family", "Addresses of host names to measure: ip4, ip6, any (the first that can be reached, IPv4 first) or both.").StringVar(&o.Family)
	for _, f := range []struct {
		family string
		short  rune
	}{{"ip4", '4'}, {"ip6", '6'}} {
		flag := c.Flag(f.family, "The same as --family="+f.family+".").Short(f.short)
		given := flag.Bool()
		flag.Action(func(*kingpin.ParseContext) error {
			if *given {
				o.Family = f.family
			}
			return nil
		})
	}
	c.Flag("via", "Measure via this interface or source address. Repeatable: the results are shown side by side.").
		PlaceHolder("INTERFACE|SOURCE").StringsVar(&o.Via)
	c.Flag("fwmark", "Firewall mark of all probes, for policy routing: decimal, or hexadecimal like 0x10.").PlaceHolder("MARK").StringVar(&o.Mark)
	c.Flag("inside", "Also measure this address through the tunnel of the one target, with a TCP port on which a program listens there. Repeatable.").
		PlaceHolder("ADDRESS[:PORT]").StringsVar(&o.Inside)
	c.Flag("pcap", "Write every probe and answer, each with a comment, to this file for Wireshark (pcapng).").PlaceHolder("FILE").StringVar(&o.Pcap)
	c.Flag("partner", "Exporter at the other end, to measure each direction with: its address, and port if it is not 10862.").
		PlaceHolder("ADDRESS[:PORT]").StringVar(&o.Partner)
	c.Flag("partner-key-file", "File with the key of the partner.").PlaceHolder("FILE").StringVar(&o.PartnerKeyFile)
	c.Flag("source-port", "Source ports of IKE: random, or fixed for 500 and 4500. Needs CAP_NET_BIND_SERVICE.").EnumVar(&o.SourcePort, "random", "fixed")
	c.Flag("fail-on", "Least severity of a diagnosis that makes the exit code 1: info, warning or critical.").Default("warning").StringVar((*string)(&o.FailOn))
	c.Flag("watch", "Go on measuring, and show the peers on the terminal until q is pressed.").BoolVar(&o.watch)
	c.Flag("timeout", "Give up on a peer after this time (with several --via, for each).").Default("2m").DurationVar(&o.Timeout)
	return c, o
}

// runCheck prints problems to standard error, and the report to standard output.
func runCheck(ctx context.Context, o *checking) int {
	if o.watch {
		return exitCode(exporter.Watch(ctx, &o.Options, os.Stdin, os.Stdout), check.ErrFault)
	}
	return exitCode(check.Run(ctx, o.Options), check.ErrFault)
}

// exitCode returns the exit status of a command that runs once. The output of the command has
// already shown an error fault; other errors are printed.
func exitCode(err, fault error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, fault):
		return exitFault
	}
	fmt.Fprintf(stderr(), "ipsec_path_exporter: error: %v\n", err)
	return exitUnable
}
