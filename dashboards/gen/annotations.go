package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// annotation marks the times at which a query gives a value.
func annotation(name, colour, title, text, expr string, enabled bool) dashboard.AnnotationQuery {
	return dashboard.AnnotationQuery{
		Name: name, Datasource: source(), Enable: enabled, Hide: new(false), IconColor: colour,
		Expr: &expr, TitleFormat: &title, TextFormat: &text, Step: new("60s"),
		Target: prometheus.Dataquery{RefId: new("Anno"), Expr: expr, Datasource: source(), Range: new(true), Instant: new(false)},
	}
}

// manyAnnotations are counts, so that ten thousand peers in trouble are one mark. The changes of path MTU look at every peer over the whole
// time, so they are off until somebody wants them.
func manyAnnotations() []dashboard.AnnotationQuery {
	return []dashboard.AnnotationQuery{
		annotation("Alerts", bad, "{{alertname}}", "{{severity}}",
			`count by (alertname, severity) (ALERTS{`+alerts+`,instance=~"$instance",isp=~"$isp",site=~"$site",peer=~"$peer"})`, true),
		annotation("Path MTU changes", neutral, "Path MTU changed", "at one peer or more",
			"count(changes("+sel("mtu_changes_total", many)+"[3m]) > 0)", false),
	}
}

// oneAnnotations are those of a peer, and of what concerns its exporter or provider as a whole.
func oneAnnotations() []dashboard.AnnotationQuery {
	return []dashboard.AnnotationQuery{
		annotation("Alerts of the peer", bad, "{{alertname}}", "{{severity}} {{gateway}}",
			`ALERTS{`+alerts+`,instance="$instance",peer="$peer"}`, true),
		annotation("Alerts of the exporter and the provider", warning, "{{alertname}}", "{{severity}} {{isp}}",
			`ALERTS{`+alerts+`,instance="$instance",isp=~"$isp",peer=""}`, true),
		annotation("Path MTU changes", neutral, "Path MTU or its state changed", "{{peer}}",
			"changes("+sel("mtu_changes_total", one)+"[3m]) > 0", true),
	}
}

// processAnnotations are those of exporters.
func processAnnotations() []dashboard.AnnotationQuery {
	return []dashboard.AnnotationQuery{
		annotation("Alerts", bad, "{{alertname}}", "{{severity}} {{instance}}",
			`count by (alertname, severity, instance) (ALERTS{`+alerts+`,instance=~"$instance",peer=""})`, true),
		annotation("Starts", neutral, "Exporter started", "{{instance}}",
			`changes(process_start_time_seconds{`+process+`}[3m]) > 0`, true),
	}
}
