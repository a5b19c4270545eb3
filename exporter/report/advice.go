package report

import (
	"strings"

	"ipsec_path_exporter/exporter/diagnosis"
)

// Advice is what follows from one diagnosis, in sentences with commands between backticks.
type Advice struct {
	Diagnosis string `json:"diagnosis"`
	// Short completes the sentence "via wan0 …".
	Short string `json:"-"`
	// Addressee is who can repair it: provider, site or peer.
	Addressee Addressee `json:"addressee"`
	// Provider is what the provider's engineer has to know.
	Provider string `json:"provider"`
	// Request is what to request; the first one is the action, with its number: a port, a protocol,
	// a size. Workaround is what helps until then, Verification how to confirm the end of the
	// fault.
	Request      []string `json:"ask"`
	Workaround   []string `json:"meanwhile"`
	Verification []string `json:"confirm"`
}

// echoesOnly is the template for a black hole that only echoes show.
const echoesOnly = diagnosis.PMTUBlackHole + "_echo"

// advise renders the advice on a diagnosis: texts/advice/NAME.md.tmpl.
func (d *document) advise(name string) (Advice, error) {
	file := name
	if name == diagnosis.PMTUBlackHole && d.ikePasses(d.EchoHole()) && d.EchoHole() > 0 {
		file = echoesOnly
	}
	text, err := render("advice/"+file, d)
	if err != nil {
		return Advice{}, err
	}
	parts := byHeading(text)
	return Advice{
		Diagnosis: name, Short: paragraph(parts["In short"]), Provider: paragraph(parts["For the provider"]),
		Addressee: d.nearest(name, Addressee(paragraph(parts["Addressee"]))),
		Request:   items(parts["Request"]), Workaround: items(parts["Workaround"]), Verification: items(parts["Verification"]),
	}, nil
}

// byHeading splits a text at its headings of level 2.
func byHeading(text string) map[string]string {
	parts := make(map[string]string)
	for part := range strings.SplitSeq("\n"+text, "\n## ") {
		title, body, _ := strings.Cut(part, "\n")
		parts[strings.TrimSpace(title)] = body
	}
	return parts
}

// paragraph is all text in one line.
func paragraph(text string) string { return strings.Join(strings.Fields(text), " ") }

// items are the items of a list, never nil.
func items(text string) []string {
	all := []string{}
	for _, b := range parse(text) {
		all = append(all, b.list...)
	}
	return all
}
