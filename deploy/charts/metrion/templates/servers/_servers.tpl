{{- /* Single servers for evaluation. (dict "root" $ "name" "nats" "ports" (dict "client" 4222)) */ -}}
{{- define "metrion.serverSelector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{- define "metrion.serverMetadata" -}}
name: {{ include "metrion.fullname" .root }}-{{ .name }}
labels:
  {{- include "metrion.merged" (list .root.Values.commonLabels (include "metrion.serverSelector" . | fromYaml)) | nindent 2 }}
{{- end -}}

{{- define "metrion.serverService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "metrion.serverMetadata" . | nindent 2 }}
spec:
  selector:
    {{- include "metrion.serverSelector" . | nindent 4 }}
  ports:
    {{- range $name, $port := .ports }}
    - {name: {{ $name }}, port: {{ $port }}, targetPort: {{ $name }}}
    {{- end }}
{{- end -}}

{{- define "metrion.serverSpec" -}}
replicas: 1
serviceName: {{ include "metrion.fullname" .root }}-{{ .name }}
selector:
  matchLabels:
    {{- include "metrion.serverSelector" . | nindent 4 }}
template:
  metadata:
    labels:
      {{- include "metrion.serverSelector" . | nindent 6 }}
    annotations:
      checksum/config: {{ (.root.Files.Glob (printf "files/servers/%s*" .name)).AsConfig | sha256sum }}
  spec:
    {{- include "metrion.podSpec" (dict "root" .root "values" (index .root.Values.servers .name) "account" (include "metrion.serviceAccount" .root)) | nindent 4 }}
    terminationGracePeriodSeconds: 120
{{- end -}}

{{- define "metrion.serverContainer" -}}
{{- $values := index .root.Values.servers .name -}}
image: {{ $values.image | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- include "metrion.securityContext" (list .root.Values.securityContext dict) | nindent 2 }}
ports:
  {{- range $name, $port := .ports }}
  - {name: {{ $name }}, containerPort: {{ $port }}}
  {{- end }}
resources:
  {{- toYaml $values.resources | nindent 2 }}
{{- end -}}

{{- define "metrion.serverVolumes" -}}
- name: config
  configMap: {name: {{ include "metrion.fullname" .root }}-{{ .name }}}
- name: tmp
  emptyDir: {sizeLimit: 1Gi}
{{- end -}}

{{- define "metrion.serverClaim" -}}
volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      accessModes: [ReadWriteOnce]
      resources: {requests: {storage: {{ (index .root.Values.servers .name).storage }}}}
{{- end -}}
