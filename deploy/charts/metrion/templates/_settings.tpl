{{- /* The environment of a service: settings from its ConfigMap, individual secrets, and variables set by the chart. */ -}}

{{- /* (dict "root" $ "component" "gateway"): the settings in values.yaml that apply to this service, as YAML. */ -}}
{{- define "metrion.settings" -}}
{{- $known := index (.root.Files.Get "files/settings.yaml" | fromYaml) .component -}}
{{- $found := dict -}}
{{- range $name, $value := .root.Values.settings -}}
{{- if has $name $known -}}{{- $_ := set $found $name $value -}}{{- end -}}
{{- end -}}
{{- range $name, $value := (index .root.Values .component).settings -}}
{{- $_ := set $found $name $value -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{- /* (dict "root" $ "key" "nats-url-gateway" "optional" false): a reference to a key of the secret, renamed by secrets.keys. */ -}}
{{- define "metrion.secretKey" -}}
{{- $renamed := index .root.Values.secrets.keys .key | default .key -}}
{{- if kindIs "string" $renamed -}}{{- $renamed = dict "key" $renamed -}}{{- end -}}
name: {{ $renamed.name | default .root.Values.secrets.existingSecret }}
key: {{ $renamed.key | default .key }}
{{- if .optional }}
optional: true
{{- end }}
{{- end -}}

{{- /* (dict "root" $ "name" "METRION_NATS_URL" "key" "nats-url-gateway" "optional" false) */ -}}
{{- define "metrion.secretVariable" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      {{- include "metrion.secretKey" . | nindent 6 }}
{{- end -}}

{{- /*
(dict "root" $ "server" "nats" "name" "METRION_NATS_URL" "service" "gateway"): a URL from the secret, or one of the release's own
server with a password from the secret.
*/ -}}
{{- define "metrion.serverVariable" -}}
{{- if .root.Values.servers.enabled -}}
{{- $user := .service -}}
{{- $scheme := "nats" -}}
{{- $port := 4222 -}}
{{- if eq .server "clickhouse" -}}
{{- $user = ternary "reader" .service (eq .service "dashboard") -}}
{{- $scheme = "http" -}}
{{- $port = 8123 -}}
{{- end -}}
{{- $password := .name | replace "_URL" "_PASSWORD" -}}
{{ include "metrion.secretVariable" (dict "root" .root "name" $password "key" (printf "%s-password-%s" .server $user)) }}
- name: {{ .name }}
  value: {{ printf "%s://%s:$(%s)@%s-%s:%d" $scheme $user $password (include "metrion.fullname" .root) .server $port }}
{{- else -}}
{{ include "metrion.secretVariable" (dict "root" .root "name" .name "key" (printf "%s-url-%s" .server .service)) }}
{{- end -}}
{{- end -}}

{{- /* (dict "root" $ "component" "gateway" "natsUser" ""): the secrets of this service only. */ -}}
{{- define "metrion.secretVariables" -}}
{{- $root := .root -}}
{{ include "metrion.serverVariable" (dict "root" $root "server" "nats" "name" "METRION_NATS_URL" "service" (.natsUser | default (ternary "admin" .component (eq .component "cli")))) }}
{{- if has .component (list "logger" "dashboard" "cli") }}
{{ include "metrion.serverVariable" (dict "root" $root "server" "clickhouse" "name" "METRION_CLICKHOUSE_URL" "service" (ternary "dashboard" .component (eq .component "cli"))) }}
{{- end }}
{{- if eq .component "cli" }}
{{ include "metrion.serverVariable" (dict "root" $root "server" "clickhouse" "name" "METRION_CLICKHOUSE_ADMIN_URL" "service" "admin") }}
{{- end }}
{{- if or (has .component (list "gateway" "dashboard" "cli")) (and (eq .component "logger") (not .natsUser)) }}
{{ include "metrion.secretVariable" (dict "root" $root "name" "METRION_SECRET_KEY" "key" "secret-key") }}
{{- end }}
{{- if and (eq .component "logger") (not .natsUser) }}
{{ include "metrion.secretVariable" (dict "root" $root "name" "METRION_SMTP_URL" "key" "smtp-url" "optional" true) }}
{{ include "metrion.secretVariable" (dict "root" $root "name" "OTEL_EXPORTER_OTLP_HEADERS" "key" "otlp-headers" "optional" true) }}
{{ include "metrion.secretVariable" (dict "root" $root "name" "METRION_PRICES_SOURCE" "key" "prices-source" "optional" true) }}
{{- end }}
{{- if eq .component "dashboard" }}
{{ include "metrion.secretVariable" (dict "root" $root "name" "METRION_DASHBOARD_ADMIN_PASSWORD" "key" "dashboard-admin-password" "optional" true) }}
{{ include "metrion.secretVariable" (dict "root" $root "name" "METRION_CLICKHOUSE_ADMIN_URL" "key" "sql-users-clickhouse-url" "optional" true) }}
{{- end }}
{{- if eq .component "gateway" }}
{{- range $name := index ($root.Files.Get "files/settings.yaml" | fromYaml) "providerKeys" }}
{{ include "metrion.secretVariable" (dict "root" $root "name" $name "key" ($name | lower | replace "_" "-") "optional" true) }}
{{- end }}
{{ include "metrion.secretVariable" (dict "root" $root "name" "METRION_OUTBOUND_PROXY" "key" "outbound-proxy" "optional" true) }}
{{- end }}
{{- end -}}

{{- /*
The environment as a YAML list; extraEnv replaces a variable of the same name. Takes "root", "component" and "variables" of the
dict of metrion.pod.
*/ -}}
{{- define "metrion.environment" -}}
{{- $extra := (index .root.Values .component).extraEnv -}}
{{- $replaced := dict -}}
{{- range $extra -}}{{- $_ := set $replaced .name true -}}{{- end -}}
{{- $parts := list (include "metrion.secretVariables" .) (include "metrion.placeVariables" .) .variables -}}
{{- $found := list -}}
{{- range $part := $parts -}}
{{- range $variable := fromYamlArray $part -}}
{{- if not (hasKey $replaced $variable.name) -}}{{- $found = append $found $variable -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml (concat $found $extra) -}}
{{- end -}}

{{- /* (dict "root" $ "component" "gateway"): the names in `files` that a setting or extraEnv of the service refers to, as a JSON list; "" for none. */ -}}
{{- define "metrion.filesRead" -}}
{{- if and .root.Values.files (not .hook) -}}
{{- $texts := list (.variables | default "") -}}
{{- range $name, $value := include "metrion.settings" . | fromYaml -}}{{- $texts = append $texts $value -}}{{- end -}}
{{- range (index .root.Values .component).extraEnv -}}{{- $texts = append $texts (.value | default "" | toString) -}}{{- end -}}
{{- $text := join "\n" $texts -}}
{{- $found := list -}}
{{- range $name, $_ := .root.Values.files -}}
{{- if contains (printf "/etc/metrion/%s" $name) $text -}}{{- $found = append $found $name -}}{{- end -}}
{{- end -}}
{{- if $found -}}{{- toJson $found -}}{{- end -}}
{{- end -}}
{{- end -}}

{{- /*
The contents of files that a service reads only at start, so a change must roll its pods. The prices file is reloaded when it
changes.
*/ -}}
{{- define "metrion.filesReadAtStart" -}}
{{- $prices := index (include "metrion.settings" . | fromYaml) "METRION_PRICES_FILE" | default "" -}}
{{- range $name := include "metrion.filesRead" . | default "[]" | fromJsonArray -}}
{{- if ne $prices (printf "/etc/metrion/%s" $name) -}}
{{- printf "%s=%s\n" $name (index $.root.Values.files $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* (dict "root" $ "component" "gateway"): the paths of the servers' CA certificates, as YAML. */ -}}
{{- define "metrion.placeVariables" -}}
{{- $found := list -}}
{{- if .root.Values.secrets.natsCaSecret -}}
{{- $found = append $found (dict "name" "METRION_NATS_CA_FILE" "value" "/etc/metrion-nats-ca/ca.crt") -}}
{{- end -}}
{{- if and .root.Values.secrets.clickhouseCaSecret (has .component (list "logger" "dashboard" "cli")) -}}
{{- $found = append $found (dict "name" "METRION_CLICKHOUSE_CA_FILE" "value" "/etc/metrion-clickhouse-ca/ca.crt") -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{- /* Converts "2Gi" to a number of bytes. */ -}}
{{- define "metrion.bytes" -}}
{{- $units := dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $unit := regexFind "(Ki|Mi|Gi|Ti)$" . -}}
{{- mul (. | trimSuffix $unit | int64) (index $units $unit | int64) -}}
{{- end -}}

{{- /* Converts any memory quantity, such as "512Mi", "1.5G" or 1000, to whole bytes. */ -}}
{{- define "metrion.quantity" -}}
{{- $units := dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 -}}
{{- $unit := regexFind "[A-Za-z]+$" (toString .) -}}
{{- mulf (toString . | trimSuffix $unit | float64) (index $units $unit | default 1) | int64 -}}
{{- end -}}

{{- /* Size limit of the outbox: four fifths of its volume. */ -}}
{{- define "metrion.spoolBytes" -}}
{{- div (mul (include "metrion.bytes" .Values.gateway.spool.sizeLimit | int64) 4) 5 -}}
{{- end -}}

{{- define "metrion.gatewayGrace" -}}
{{- with .Values.gateway.stop -}}
{{- add .preStopSeconds .delaySeconds .streamSeconds .flushSeconds 5 -}}
{{- end -}}
{{- end -}}
