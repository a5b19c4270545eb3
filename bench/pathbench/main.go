// Command pathbench measures the exporter against simulated peers, beside other programs that do the
// same work. bench/*.sh build and run it; docs/performance.md has the results.
//
//	pathbench row NAME     measures one row of the table, in namespaces of its own
//	pathbench scrape FILE  judges the output of the benchmark of scrapes
//	pathbench table FILE   prints results as a table
//	pathbench peers        simulates peers; row starts it, as well as the three below
//	pathbench reference, flood, busy
//	pathbench truth        prints the profile of each simulated peer and the verdict it should get
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"ipsec_path_exporter/bench/load"
	"ipsec_path_exporter/bench/rows"
	"ipsec_path_exporter/internal/netlab/crowd"
)

// Exit codes.
const (
	exitOK     = 0
	exitFail   = 1 // a goal was missed
	exitUnable = 2 // could not measure, or bad usage
)

func main() { os.Exit(run(os.Args[1:], os.Stdout)) }

// A command is what a command line chose.
type command func(ctx context.Context) (exit int, err error)

func run(args []string, out io.Writer) int {
	app := kingpin.New("pathbench", "Benchmarks of ipsec_path_exporter against simulated peers.")
	app.UsageWriter(os.Stderr).ErrorWriter(os.Stderr)
	app.HelpFlag.Short('h')
	commands := map[string]command{}
	for _, add := range []func(*kingpin.Application, map[string]command, io.Writer){
		addRow, addScrape, addTable, addPeers, addTruth, addReference, addFlood, addBusy,
	} {
		add(app, commands, out)
	}
	chosen, err := app.Parse(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "pathbench: error: %v (try --help)\n", err)
		return exitUnable
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	exit, err := commands[chosen](ctx)
	if err != nil {
		fmt.Fprintf(os.Stderr, "pathbench: error: %v\n", err)
		return exitUnable
	}
	return exit
}

// addReference adds the loop that sends echoes as cheaply as possible.
func addReference(app *kingpin.Application, commands map[string]command, out io.Writer) {
	c := app.Command("reference", "Send echoes on one raw socket in batches; print the counts at the end.")
	first := c.Flag("first", "First address.").Default("10.64.0.1").String()
	count := c.Flag("count", "Number of addresses.").Default("10000").Int()
	interval := c.Flag("interval", "Time between two echoes to an address.").Default("1s").Duration()
	tick := c.Flag("tick", "Time between two looks at the socket.").Default("5ms").Duration()
	commands[c.FullCommand()] = func(ctx context.Context) (int, error) {
		a, err := netip.ParseAddr(*first)
		if err != nil || !a.Is4() {
			return exitUnable, fmt.Errorf("--first: %q is not an IPv4 address", *first)
		}
		result, err := load.Reference{First: a, Count: *count, Interval: *interval, Tick: *tick}.Run(ctx)
		if err != nil {
			return exitUnable, err
		}
		return exitOK, json.NewEncoder(out).Encode(result)
	}
}

// addFlood adds the flood of forged packets.
func addFlood(app *kingpin.Application, commands map[string]command, out io.Writer) {
	c := app.Command("flood", "Send forged packets to this host through a device of its own.")
	to := c.Flag("to", "Attacked address of this host.").Default("10.63.0.1").String()
	first := c.Flag("first", "First forged source address.").Default("10.64.0.1").String()
	f := load.Flood{}
	c.Flag("count", "Number of forged source addresses.").Default("10000").IntVar(&f.Count)
	c.Flag("rate", "Packets per second.").Default("50000").IntVar(&f.Rate)
	c.Flag("turn", "How long one kind is sent before the next.").Default("10s").DurationVar(&f.Turn)
	c.Flag("seed", "Seed of the random fields.").Default("1").Uint64Var(&f.Seed)
	kinds := c.Flag("kind", "Kind of packets; repeatable. The default is all.").Enums(forgeryNames()...)
	ports := c.Flag("port", "UDP port of the victim's probes; repeatable. The default is random ports.").Uint16List()
	identifier := c.Flag("identifier", "Identifier of the victim's echoes. The default is random ones.").Uint16()
	commands[c.FullCommand()] = func(ctx context.Context) (int, error) {
		var err error
		if f.To, err = netip.ParseAddr(*to); err != nil {
			return exitUnable, err
		}
		if f.First, err = netip.ParseAddr(*first); err != nil {
			return exitUnable, err
		}
		f.Ports, f.Identifier, f.Kinds = *ports, *identifier, load.Forgeries()
		if len(*kinds) > 0 {
			f.Kinds = nil
			for _, k := range *kinds {
				f.Kinds = append(f.Kinds, load.Forgery(k))
			}
		}
		sent, err := f.Run(ctx)
		if err != nil {
			return exitUnable, err
		}
		fmt.Fprintf(out, "{\"sent\":%d}\n", sent)
		return exitOK, nil
	}
}

func forgeryNames() []string {
	var names []string
	for _, k := range load.Forgeries() {
		names = append(names, string(k))
	}
	return names
}

// addBusy adds the process that keeps processors busy.
func addBusy(app *kingpin.Application, commands map[string]command, _ io.Writer) {
	c := app.Command("busy", "Keep threads computing.")
	threads := c.Flag("threads", "Number of threads.").Default("2").Int()
	commands[c.FullCommand()] = func(ctx context.Context) (int, error) {
		load.Busy(ctx, *threads)
		return exitOK, nil
	}
}

// addRow adds the measurement of one row.
func addRow(app *kingpin.Application, commands map[string]command, out io.Writer) {
	c := app.Command("row", "Measure one row of the table. Exits 0 if all goals are met, 1 if one is missed, 2 if it could not measure.")
	name := c.Arg("name", "Name of the row.").Required().Enum(rows.Names()...)
	o := rows.Options{Out: out}
	c.Flag("exporter", "The program to measure.").Required().ExistingFileVar(&o.Exporter)
	c.Flag("duration", "Length of the measurement, in place of the row's own.").DurationVar(&o.Duration)
	c.Flag("peers", "Number of peers, in place of the row's own. Goals are stated for the row's own.").IntVar(&o.Peers)
	c.Flag("seed", "Seed of the peers.").Default("1").Uint64Var(&o.Seed)
	results := c.Flag("results", "File to which the results are added.").String()
	c.Flag("keep", "Directory that keeps logs and configurations.").StringVar(&o.Dir)
	commands[c.FullCommand()] = func(ctx context.Context) (int, error) {
		return measure(ctx, *name, o, *results)
	}
}

// addScrape adds the judgement of the benchmark of scrapes.
func addScrape(app *kingpin.Application, commands map[string]command, out io.Writer) {
	c := app.Command("scrape", "Judge the output of go test -bench Scrape ./exporter/store.")
	name := c.Arg("file", "The output.").Required().ExistingFile()
	results := c.Flag("results", "File to which the results are added.").String()
	commands[c.FullCommand()] = func(context.Context) (int, error) {
		f, err := os.Open(*name)
		if err != nil {
			return exitUnable, err
		}
		defer f.Close()
		checks, err := rows.Scrapes(f)
		if err != nil {
			return exitUnable, err
		}
		return report(out, checks, *results)
	}
}

// addTable adds the table of results.
func addTable(app *kingpin.Application, commands map[string]command, out io.Writer) {
	c := app.Command("table", "Print results as a Markdown table.")
	files := c.Arg("file", "Files of results.").Required().ExistingFiles()
	commands[c.FullCommand()] = func(context.Context) (int, error) {
		var all []rows.Check
		for _, name := range *files {
			checks, err := readResults(name)
			if err != nil {
				return exitUnable, err
			}
			all = append(all, checks...)
		}
		rows.WriteTable(out, all)
		return exitOK, nil
	}
}

// addTruth adds the oracle.
func addTruth(app *kingpin.Application, commands map[string]command, out io.Writer) {
	c := app.Command("truth", "Print the profile of each simulated peer and the verdict it should get, as JSON lines.")
	config := worldFlags(c)
	commands[c.FullCommand()] = func(context.Context) (int, error) {
		world, err := config()
		if err != nil {
			return exitUnable, err
		}
		w, err := crowd.NewWorld(world)
		if err != nil {
			return exitUnable, err
		}
		encoder := json.NewEncoder(out)
		for p := range w.Profiles {
			line := struct {
				crowd.Profile
				Expect crowd.Expectation `json:"expect"`
			}{p, p.Expect()}
			if err := encoder.Encode(line); err != nil {
				return exitUnable, err
			}
		}
		return exitOK, nil
	}
}

// shutdown limits the time for requests that are open at the end.
const shutdown = time.Second
