package main

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"ipsec_path_exporter/internal/spelling"
)

// meant returns what arguments that are not understood may have been meant to be, as the end of an
// error: a flag of a similar name, a command of a similar name, or the command check for an address
// without a command.
func meant(app *kingpin.ApplicationModel, args []string, err error) string {
	if flag := unknownFlag(app, commandOf(app, args), args); flag != "" {
		return "; did you mean " + flag + "?"
	}
	unexpected, is := strings.CutPrefix(err.Error(), "unexpected ") // kingpin has no type for it
	word := slices.Index(args, unexpected)
	if !is || word < 0 {
		return ""
	}
	instead := slices.Clone(args)
	if name := spelling.Nearest(args[word], commandNames(app)); name != "" {
		instead[word] = name
	} else if isHost(args[word]) {
		instead = slices.Insert(instead, 0, "check")
	} else {
		return ""
	}
	return `; did you mean "` + strings.Join(append([]string{app.Name}, instead...), " ") + `"?`
}

func commandNames(app *kingpin.ApplicationModel) (names []string) {
	for _, c := range app.Commands {
		names = append(names, c.Name)
	}
	return names
}

// commandOf returns the command that is named, nil if none is.
func commandOf(app *kingpin.ApplicationModel, args []string) *kingpin.CmdModel {
	for _, c := range app.Commands {
		if slices.Contains(args, c.Name) {
			return c
		}
	}
	return nil
}

// unknownFlag returns the flag that may have been meant by the first one that is not known, "" if
// there is none. Without a command, it may be a flag of the default one.
func unknownFlag(app *kingpin.ApplicationModel, command *kingpin.CmdModel, args []string) string {
	var known []string
	for _, f := range app.Flags {
		known = append(known, names(f)...)
	}
	for _, c := range app.Commands {
		if c == command || command == nil && c.Default {
			for _, f := range c.Flags {
				known = append(known, names(f)...)
			}
		}
	}
	for _, a := range args {
		flag, _, _ := strings.Cut(a, "=")
		if strings.HasPrefix(flag, "--") && !slices.Contains(known, flag) {
			return spelling.Nearest(flag, known)
		}
	}
	return ""
}

// names returns the forms of a flag.
func names(f *kingpin.FlagModel) []string {
	all := []string{"--" + f.Name}
	if f.IsBoolFlag() {
		all = append(all, "--no-"+f.Name)
	}
	return all
}

// isHost reports whether a word looks like an address or a host name.
func isHost(word string) bool {
	_, err := netip.ParseAddr(word)
	return err == nil || strings.Contains(strings.Trim(word, "."), ".")
}
