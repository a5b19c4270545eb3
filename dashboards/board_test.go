package dashboards

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// A board is what the tests look at in the JSON of a dashboard.
type board struct {
	UID          string   `json:"uid"`
	Title        string   `json:"title"`
	Description  string   `json:"description"`
	Tags         []string `json:"tags"`
	Editable     *bool    `json:"editable"`
	GraphTooltip int      `json:"graphTooltip"`
	Panels       []panel  `json:"panels"`
	Links        []link   `json:"links"`
	Templating   struct {
		List []variable `json:"list"`
	} `json:"templating"`
	Annotations struct {
		List []annotation `json:"list"`
	} `json:"annotations"`
}

type panel struct {
	ID          int         `json:"id"`
	Type        string      `json:"type"`
	Title       string      `json:"title"`
	Description string      `json:"description"`
	Collapsed   bool        `json:"collapsed"`
	Datasource  *source     `json:"datasource"`
	GridPos     rect        `json:"gridPos"`
	Targets     []target    `json:"targets"`
	Panels      []panel     `json:"panels"`
	FieldConfig fieldConfig `json:"fieldConfig"`
	Options     struct {
		Content string `json:"content"`
		Sizing  string `json:"sizing"`
		YAxis   struct {
			Unit string `json:"unit"`
		} `json:"yAxis"`
	} `json:"options"`
	Transformations []struct {
		ID      string `json:"id"`
		Options struct {
			IndexByName   map[string]int    `json:"indexByName"`
			RenameByName  map[string]string `json:"renameByName"`
			ExcludeByName map[string]bool   `json:"excludeByName"`
		} `json:"options"`
	} `json:"transformations"`
}

type rect struct{ X, Y, W, H int }

type source struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type target struct {
	RefID        string  `json:"refId"`
	Expr         string  `json:"expr"`
	LegendFormat string  `json:"legendFormat"`
	Format       string  `json:"format"`
	Instant      bool    `json:"instant"`
	Datasource   *source `json:"datasource"`
}

type fieldConfig struct {
	Defaults struct {
		Unit    string   `json:"unit"`
		NoValue string   `json:"noValue"`
		Links   []link   `json:"links"`
		Max     *float64 `json:"max"`
		// These decide what a person reads in place of a number.
		DisplayName string            `json:"displayName"`
		Mappings    []json.RawMessage `json:"mappings"`
		Color       struct{ Mode string }
		Thresholds  struct{ Steps []any }
		Custom      json.RawMessage `json:"custom"`
	} `json:"defaults"`
	Overrides []struct {
		Matcher struct {
			Options any `json:"options"`
		} `json:"matcher"`
		Properties []struct {
			ID    string          `json:"id"`
			Value json.RawMessage `json:"value"`
		} `json:"properties"`
	} `json:"overrides"`
}

type link struct {
	Title       string   `json:"title"`
	Type        string   `json:"type"`
	URL         string   `json:"url"`
	Tags        []string `json:"tags"`
	KeepTime    bool     `json:"keepTime"`
	IncludeVars bool     `json:"includeVars"`
}

type variable struct {
	Name        string          `json:"name"`
	Type        string          `json:"type"`
	Label       string          `json:"label"`
	Description string          `json:"description"`
	Definition  string          `json:"definition"`
	Datasource  *source         `json:"datasource"`
	Refresh     int             `json:"refresh"`
	Multi       bool            `json:"multi"`
	IncludeAll  bool            `json:"includeAll"`
	AllValue    string          `json:"allValue"`
	Regex       string          `json:"regex"`
	Query       json.RawMessage `json:"query"`
}

type annotation struct {
	Name       string  `json:"name"`
	Expr       string  `json:"expr"`
	Datasource *source `json:"datasource"`
	Title      string  `json:"titleFormat"`
	Text       string  `json:"textFormat"`
}

// all returns the panels of the board, including collapsed rows, without the rows.
func (b board) all() []panel {
	var all []panel
	for _, p := range b.Panels {
		if p.Type != "row" {
			all = append(all, p)
		}
		all = append(all, p.Panels...)
	}
	return all
}

// dataLinks returns the links of a panel's values and columns.
func (p panel) dataLinks(t *testing.T) []link {
	t.Helper()
	all := p.FieldConfig.Defaults.Links
	for _, o := range p.FieldConfig.Overrides {
		for _, property := range o.Properties {
			if property.ID != "links" {
				continue
			}
			var some []link
			if err := json.Unmarshal(property.Value, &some); err != nil {
				t.Fatalf("%s: links: %v", p.Title, err)
			}
			all = append(all, some...)
		}
	}
	return all
}

// columns are the fields that a table shows.
func (p panel) columns() []string {
	var all []string
	for _, t := range p.Transformations {
		for name := range t.Options.IndexByName {
			all = append(all, name)
		}
	}
	return all
}

// files are the boards' paths.
func files(tb testing.TB) []string {
	tb.Helper()
	paths, err := filepath.Glob("*.json")
	if err != nil || len(paths) != 5 {
		tb.Fatalf("%d boards instead of five: %v %v", len(paths), paths, err)
	}
	return paths
}

// load reads all boards.
func load(tb testing.TB) []board {
	tb.Helper()
	var all []board
	for _, path := range files(tb) {
		text, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, decode(tb, text))
	}
	return all
}

func decode(tb testing.TB, text []byte) board {
	tb.Helper()
	var b board
	if err := json.Unmarshal(text, &b); err != nil {
		tb.Fatal(err)
	}
	return b
}

// variablesIn names Grafana's variables in a text, except Grafana's own.
func variablesIn(text string) []string {
	var all []string
	for _, m := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(text, -1) {
		if len(m[1]) < 2 || m[1][:2] != "__" {
			all = append(all, m[1])
		}
	}
	return all
}
