"""Draw the plots of runs and studies as SVG."""
