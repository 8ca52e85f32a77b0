"""What a served load came to, read from its record alone: latencies, goodput, cost, series over time, and traces."""

from sim.serving.results.cost import costs as costs
from sim.serving.results.goodput import Attainment as Attainment
from sim.serving.results.goodput import attainments as attainments
from sim.serving.results.grafana import dashboard as dashboard
from sim.serving.results.latency import Latencies as Latencies
from sim.serving.results.latency import latencies as latencies
from sim.serving.results.other_tools import other_tools as other_tools
from sim.serving.results.prometheus import openmetrics as openmetrics
from sim.serving.results.saturation import Saturation as Saturation
from sim.serving.results.saturation import saturation as saturation
from sim.serving.results.series import Series as Series
from sim.serving.results.series import series as series
from sim.serving.results.series_files import csv as csv
from sim.serving.results.series_files import parquet as parquet
from sim.serving.results.summary import asked as asked
from sim.serving.results.summary import summarize as summarize
from sim.serving.results.trace import perfetto as perfetto
