package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"ipsec_path_exporter/internal/netlab/crowd"
)

// worldFlags adds the flags that describe simulated peers.
func worldFlags(c *kingpin.CmdClause) func() (crowd.Config, error) {
	config := crowd.Config{}
	c.Flag("seed", "Seed of the profiles.").Default("1").Uint64Var(&config.Seed)
	c.Flag("count", "Number of peers of each family.").Default("10000").IntVar(&config.Count)
	c.Flag("hops", "Number of routers before the peers.").Default("3").IntVar(&config.Hops)
	ipv4 := c.Flag("ipv4", "Addresses of the peers.").Default("10.64.0.0/12").String()
	ipv6 := c.Flag("ipv6", "IPv6 addresses of the peers; empty for none.").String()
	mix := c.Flag("mix", "Kinds of peers and their weights, like clean:90,dead:10.").Default("clean").String()
	narrow := c.Flag("narrow", "Path MTUs of the paths with a small link, in bytes.").Default("1400").String()
	delay := c.Flag("delay", "Round-trip time of each peer: 20ms, 5ms-80ms, exp:3ms, or a sum with +.").Default("20ms").String()
	jitter := c.Flag("jitter", "What is added to it for each packet.").Default("0s").String()
	return func() (crowd.Config, error) {
		var err error
		if config.IPv4, err = netip.ParsePrefix(*ipv4); err != nil {
			return config, fmt.Errorf("--ipv4: %w", err)
		}
		if *ipv6 != "" {
			if config.IPv6, err = netip.ParsePrefix(*ipv6); err != nil {
				return config, fmt.Errorf("--ipv6: %w", err)
			}
		}
		if config.Mix, err = crowd.ParseMix(*mix); err != nil {
			return config, fmt.Errorf("--mix: %w", err)
		}
		for size := range strings.SplitSeq(*narrow, ",") {
			bytes, err := strconv.Atoi(size)
			if err != nil {
				return config, fmt.Errorf("--narrow: %w", err)
			}
			config.Narrow = append(config.Narrow, bytes)
		}
		if config.Delay, err = crowd.ParseDistribution(*delay); err != nil {
			return config, fmt.Errorf("--delay: %w", err)
		}
		if config.Jitter, err = crowd.ParseDistribution(*jitter); err != nil {
			return config, fmt.Errorf("--jitter: %w", err)
		}
		return config, nil
	}
}

// addPeers adds the simulator.
func addPeers(app *kingpin.Application, commands map[string]command, out io.Writer) {
	c := app.Command("peers", "Simulate peers behind a TUN device of this network namespace. Needs CAP_NET_ADMIN.")
	config := worldFlags(c)
	listen := c.Flag("listen", "Address for /counters, /echoes, /identifier, /residence and POST /reset.").Default("127.0.0.1:9911").String()
	commands[c.FullCommand()] = func(ctx context.Context) (int, error) {
		world, err := config()
		if err != nil {
			return exitUnable, err
		}
		peers, err := crowd.Start(ctx, world)
		if err != nil {
			return exitUnable, err
		}
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *listen)
		if err != nil {
			return exitUnable, err
		}
		server := &http.Server{Handler: control(peers), ReadHeaderTimeout: time.Second}
		context.AfterFunc(ctx, func() {
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdown)
			defer cancel()
			_ = server.Shutdown(end) // requests that are still open end with the process
		})
		fmt.Fprintf(out, "simulating %d peers on %s\n", world.Count, crowd.DeviceName)
		go func() { _ = server.Serve(listener) }() // it fails when it is shut down
		if err := peers.Wait(); err != nil {
			return exitUnable, err
		}
		return exitOK, nil
	}
}

// control serves what the simulator counts.
func control(peers *crowd.Crowd) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /counters", func(w http.ResponseWriter, _ *http.Request) { encode(w, peers.Counters()) })
	mux.HandleFunc("GET /identifier", func(w http.ResponseWriter, _ *http.Request) { encode(w, peers.Identifier()) })
	mux.HandleFunc("GET /residence", func(w http.ResponseWriter, _ *http.Request) { encode(w, peers.Residence()) })
	mux.HandleFunc("POST /reset", func(http.ResponseWriter, *http.Request) { peers.ResetResidence() })
	mux.HandleFunc("GET /echoes", func(w http.ResponseWriter, _ *http.Request) {
		all := []crowd.Echoes{}
		for e := range peers.Echoes {
			all = append(all, e)
		}
		encode(w, all)
	})
	return mux
}

// encode answers with JSON. A client that has gone away needs no error.
func encode(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
